"""BERT, tiny: comparable with the other tiny experiments, with which it shares text, trunk and optimizer."""

from configs.shared import TINY
from training.config import Experiment


def get_config() -> Experiment:
    return TINY.bert()
