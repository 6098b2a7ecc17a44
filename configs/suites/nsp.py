"""Is the next-sentence decision worth its loss? RoBERTa dropped it, ALBERT asks for the order of the two instead."""

import dataclasses

from ablation.choices import cloze_tokens, cloze_words
from ablation.claims import claim
from ablation.suite import Suite
from configs.shared import TINY
from objectives import MaskedLm


def get_suite() -> Suite:
    bert = TINY.bert()
    base = dataclasses.replace(
        bert,
        model=dataclasses.replace(bert.model, pair_head=True),
        data=dataclasses.replace(bert.data, layout="pairs"),
        objective=MaskedLm(pair_weight=1.0),
    )
    return Suite(
        question="Does a masked language model lose anything without the next-sentence loss?",
        base=base,
        arms={
            "next sentence": {},
            "sentence order": {"data.pair_task": "order"},
            "no pair loss": {"objective.pair_weight": 0.0},
        },
        yardsticks=(cloze_tokens(), cloze_words()),
        claims=(
            claim(
                "without the next-sentence loss words are guessed as well",
                "word cloze",
                "no pair loss",
                same_as="next sentence",
                within=0.05,
            ),
            claim(
                "sentence order costs nothing either",
                "word cloze",
                "sentence order",
                same_as="no pair loss",
                within=0.05,
            ),
        ),
    )
