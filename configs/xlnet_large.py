"""XLNet, large."""

from configs import published
from training.config import Experiment


def get_config() -> Experiment:
    return published.xlnet(layers=24, heads=16, dim=1024)
