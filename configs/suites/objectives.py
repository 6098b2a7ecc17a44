"""GPT, BERT or XLNet, under the same text and compute: which, at what?

`canonical`: each model as its paper has it, and masked language modeling on XLNet's trunk, without which XLNet against
BERT would compare trunks. `matched`: one trunk for all, XLNet's without its memory: the objective alone differs.
"""

from ablation.choices import cloze_tokens, cloze_words
from ablation.claims import claim
from ablation.suite import Suite
from ablation.yardsticks import likelihood, random_orders
from batch import InputError
from configs.shared import TINY
from models import XlnetConfig
from objectives import CausalLm, MaskedLm, PermutationLm

YARDSTICKS = (likelihood(positions=4), random_orders(orders=1, positions=4), cloze_words(), cloze_tokens(64))


def get_suite(mode: str = "canonical") -> Suite:
    if mode == "canonical":
        return canonical()
    if mode == "matched":
        return matched()
    raise InputError(f"suite: objectives.py:{mode}: is canonical or matched.")


def canonical() -> Suite:
    return Suite(
        question="GPT, BERT or XLNet, each as published, with the same text and the same compute?",
        base=TINY.gpt(),
        arms={
            "GPT": {},
            "BERT": {"model": TINY.bert().model, "objective": MaskedLm()},
            "XLNet": {"model": TINY.xlnet().model, "objective": PermutationLm()},
            "MLM on XLNet's trunk": {"model": TINY.xlnet().model, "objective": MaskedLm()},
        },
        yardsticks=YARDSTICKS,
        claims=(
            claim("GPT knows text from left to right better than BERT", "left to right", "GPT", better_than="BERT"),
            claim("GPT knows text from left to right better than XLNet", "left to right", "GPT", better_than="XLNet"),
            claim("XLNet fills blanks better than BERT", "word cloze", "XLNet", better_than="BERT"),
            claim(
                "XLNet fills blanks better than masked language modeling on its own trunk",
                "word cloze",
                "XLNet",
                better_than="MLM on XLNet's trunk",
            ),
        ),
        match=("flops", "tokens", "predicted"),
        tasks=("curve",),
    )


def matched() -> Suite:
    model = XlnetConfig(**TINY.trunk)
    return Suite(
        question="Left to right, masked or permuted: what does the objective do, on one trunk, with the same compute?",
        base=TINY.gpt(),
        arms={
            "causal": {"model": model, "objective": CausalLm()},
            "masked": {"model": model, "objective": MaskedLm()},
            "permutation": {"model": model, "objective": PermutationLm()},
        },
        yardsticks=YARDSTICKS,
        claims=(
            claim("causal is best from left to right", "left to right", "causal", better_than="permutation"),
            claim("permutation beats masked from left to right", "left to right", "permutation", better_than="masked"),
            claim("permutation beats masked between both sides", "word cloze", "permutation", better_than="masked"),
            claim("causal beats masked between both sides", "word cloze", "causal", better_than="masked"),
        ),
        match=("flops", "tokens", "predicted"),
        mode="matched",
        tasks=("curve",),
    )
