"""GPT, mini: comparable with the other mini experiments, with which it shares text, trunk and optimizer."""

from configs.shared import MINI
from training.config import Experiment


def get_config() -> Experiment:
    return MINI.gpt()
