"""One objective or several at once? Mixtures by row (Charpentier and Samuel 2024) and by stage (arXiv 2507.00994).

One trunk, XLNet's without its memory, so that the objectives alone differ.
"""

from ablation.choices import cloze_tokens, cloze_words
from ablation.claims import claim
from ablation.suite import Suite
from ablation.yardsticks import likelihood
from configs.shared import TINY
from models import XlnetConfig
from objectives import (
    CausalLm,
    MaskedDiffusion,
    MaskedLm,
    MaskedNextToken,
    Mixture,
    PermutationLm,
    PrefixLm,
    Staged,
    any_order_lm,
)

HALF = TINY.optimizer.total_steps // 2

OBJECTIVES = {
    "causal": CausalLm(),
    "masked": MaskedLm(),
    "permutation": PermutationLm(),
    "prefix": PrefixLm(),
    "any order": any_order_lm(),
    "diffusion": MaskedDiffusion(),
    "masked next token": MaskedNextToken(),
    "causal and masked, 1:1": Mixture((CausalLm(), MaskedNextToken())),
    "causal and masked, 1:3": Mixture((CausalLm(), MaskedNextToken()), shares=(1.0, 3.0)),
    "causal, then masked": Staged((CausalLm(), MaskedLm()), until=(HALF,)),
}


def get_suite() -> Suite:
    both = "causal and masked, 1:1"
    return Suite(
        question="Does a model that is trained on several objectives gain or lose?",
        base=TINY.gpt(),
        arms={name: {"model": XlnetConfig(**TINY.trunk), "objective": each} for name, each in OBJECTIVES.items()},
        yardsticks=(likelihood(positions=4), cloze_words(), cloze_tokens(64)),
        claims=(
            claim("a mixture fills blanks better than masking alone", "word cloze", both, better_than="masked"),
            claim("a mixture reads worse than a causal model", "left to right", "causal", better_than=both),
            claim(
                "causal first, then masked, fills blanks better than masking alone",
                "word cloze",
                "causal, then masked",
                better_than="masked",
            ),
        ),
        mode="matched",
    )
