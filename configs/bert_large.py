"""BERT, large."""

from configs import published
from training.config import Experiment


def get_config() -> Experiment:
    return published.bert(layers=24, heads=16, dim=1024)
