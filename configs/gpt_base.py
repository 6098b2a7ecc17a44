"""GPT-2, base (124 million parameters, called small in its paper)."""

from configs import published
from training.config import Experiment


def get_config() -> Experiment:
    return published.gpt(layers=12, heads=12, dim=768)
