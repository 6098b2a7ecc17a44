"""The objectives. A new one is one file and one line in OBJECTIVES."""

from objectives.base import READINGS, Objective
from objectives.causal import CausalLm
from objectives.composite import Composite, places, plains
from objectives.diffusion import MaskedDiffusion
from objectives.masked import MaskedLm
from objectives.mixture import Mixture
from objectives.mntp import MaskedNextToken
from objectives.permutation import PermutationLm, any_order_lm
from objectives.prefix import PrefixLm
from objectives.staged import Staged

OBJECTIVES = {
    "causal": CausalLm,
    "masked": MaskedLm,
    "permutation": PermutationLm,
    "prefix": PrefixLm,
    "diffusion": MaskedDiffusion,
    "mntp": MaskedNextToken,
    "mixture": Mixture,
    "staged": Staged,
}

__all__ = [
    "OBJECTIVES",
    "READINGS",
    "CausalLm",
    "Composite",
    "MaskedDiffusion",
    "MaskedLm",
    "MaskedNextToken",
    "Mixture",
    "Objective",
    "PermutationLm",
    "PrefixLm",
    "Staged",
    "any_order_lm",
    "places",
    "plains",
]
