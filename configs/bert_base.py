"""BERT, base."""

from configs import published
from training.config import Experiment


def get_config() -> Experiment:
    return published.bert(layers=12, heads=12, dim=768)
