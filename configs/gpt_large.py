"""GPT-2, large (355 million parameters, called medium in its paper)."""

from configs import published
from training.config import Experiment


def get_config() -> Experiment:
    return published.gpt(layers=24, heads=16, dim=1024)
