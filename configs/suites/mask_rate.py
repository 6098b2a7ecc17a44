"""How much to mask: 15 % as in BERT, more (Wettig et al. 2023), or a share drawn anew for each row?"""

from ablation.change import chain, sweep
from ablation.choices import cloze_tokens, cloze_words
from ablation.claims import claim
from ablation.suite import Suite
from ablation.yardsticks import likelihood
from configs.shared import TINY
from objectives import MaskedDiffusion


def get_suite() -> Suite:
    return Suite(
        question="How many tokens should a masked language model hide?",
        base=TINY.bert(),
        arms=chain(
            sweep("objective.rate", (0.15, 0.3, 0.4, 0.5, 0.8), "rate {}"),
            {"any rate": {"objective": MaskedDiffusion()}},
        ),
        yardsticks=(cloze_tokens(), cloze_words(), likelihood(positions=4)),
        claims=(
            claim("40 % fills single blanks better than 15 %", "token cloze", "rate 0.4", better_than="rate 0.15"),
            claim("80 % fills them worse than 40 %", "token cloze", "rate 0.4", better_than="rate 0.8"),
            claim("any rate reads better from left to right", "left to right", "any rate", better_than="rate 0.15"),
        ),
        match=("tokens", "predicted"),
    )
