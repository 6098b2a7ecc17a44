"""GPT, tiny: causal language modeling."""

from configs import tiny
from models import GptConfig
from objectives import CausalLm
from training.config import Experiment


def get_config() -> Experiment:
    return tiny.experiment(GptConfig(**tiny.TRUNK, max_length=128), CausalLm())
