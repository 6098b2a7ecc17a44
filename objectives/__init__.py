"""The objectives. A new one is one file and one line in OBJECTIVES."""

from objectives.base import Objective
from objectives.causal import CausalLm
from objectives.masked import MaskedLm
from objectives.permutation import PermutationLm

OBJECTIVES = {"causal": CausalLm, "masked": MaskedLm, "permutation": PermutationLm}

__all__ = ["OBJECTIVES", "CausalLm", "MaskedLm", "Objective", "PermutationLm"]
