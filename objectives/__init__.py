"""The objectives. A new one is one file and one line in OBJECTIVES."""

from objectives.base import READINGS, Objective
from objectives.causal import CausalLm
from objectives.composite import Composite, places, plains
from objectives.diffusion import MaskedDiffusion
from objectives.language import WithLanguage
from objectives.masked import MaskedLm
from objectives.mixture import Mixture
from objectives.mntp import MaskedNextToken
from objectives.permutation import PermutationLm, any_order_lm
from objectives.pointing import Extraction, MultipleChoice
from objectives.prefix import PrefixLm
from objectives.staged import Staged
from objectives.tasks import Classification, Regression, Tagging

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
"""Of pretraining: what a model learns from text alone."""

TASK_OBJECTIVES = {
    "classification": Classification,
    "regression": Regression,
    "tagging": Tagging,
    "choice": MultipleChoice,
    "extraction": Extraction,
}
"""Of fine-tuning: what a model with a task head learns from labels."""

LABELED = (*TASK_OBJECTIVES.values(), WithLanguage)
"""All that need labels, with the next token's loss beside their own or without it."""

__all__ = [
    "LABELED",
    "OBJECTIVES",
    "READINGS",
    "TASK_OBJECTIVES",
    "CausalLm",
    "Classification",
    "Composite",
    "Extraction",
    "MaskedDiffusion",
    "MaskedLm",
    "MaskedNextToken",
    "Mixture",
    "MultipleChoice",
    "Objective",
    "PermutationLm",
    "PrefixLm",
    "Regression",
    "Staged",
    "Tagging",
    "WithLanguage",
    "any_order_lm",
    "places",
    "plains",
]
