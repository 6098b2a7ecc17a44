"""XLNet, tiny: permutation language modeling with a memory of half a window."""

from configs import tiny
from models import XlnetConfig
from objectives import PermutationLm
from training.config import Experiment


def get_config() -> Experiment:
    return tiny.experiment(XlnetConfig(**tiny.TRUNK, memory_length=64), PermutationLm())
