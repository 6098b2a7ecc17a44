"""BERT, small: comparable with the other small experiments, with which it shares text, trunk and optimizer."""

from configs.shared import SMALL
from training.config import Experiment


def get_config() -> Experiment:
    return SMALL.bert()
