"""The rows of XLNet's ablation (Yang et al. 2019, table 6) in miniature, each one change away from the first.

Next sentences need rows of two segments, half of which is new text: they are compared with such rows without the loss.
"""

import dataclasses

from ablation.choices import cloze_tokens, cloze_words
from ablation.claims import claim
from ablation.suite import Suite
from ablation.yardsticks import carried_memory, likelihood
from configs.shared import TINY
from objectives import MaskedLm

FULL = "K = 6"


def get_suite() -> Suite:
    base = TINY.xlnet()
    base = dataclasses.replace(base, data=dataclasses.replace(base.data, directions="both"))
    half = base.data.length // 2
    segments = {"data.layout": "pairs", "data.pair_format": "xlnet", "objective.reuse": half, "model.pair_head": True}
    parts = ("K = 7", "no memory", "no spans", "one direction")
    return Suite(
        question="Which part of XLNet does what?",
        base=base,
        arms={
            FULL: {},
            "K = 7": {"objective.predict_one_in": 7.0},
            "masked": {"objective": MaskedLm()},
            "no memory": {"model.memory_length": 0},
            "no spans": {"objective.spans": "token"},
            "one direction": {"data.directions": "forward"},
            "two segments": segments,
            "next sentence": {**segments, "objective.pair_weight": 1.0},
        },
        yardsticks=(cloze_words(), cloze_tokens(), likelihood(positions=4), carried_memory()),
        claims=(
            claim("permutation fills blanks better than masking", "word cloze", FULL, better_than="masked"),
            *(claim(f"better than {part}", "word cloze", FULL, better_than=part) for part in parts),
            claim("better without next sentences", "word cloze", "two segments", better_than="next sentence"),
        ),
    )
