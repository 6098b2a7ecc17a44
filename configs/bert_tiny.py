"""BERT, tiny, without next-sentence prediction: masked language modeling on the streams that the others read."""

from configs import tiny
from models import BertConfig
from objectives import MaskedLm
from training.config import Experiment


def get_config() -> Experiment:
    return tiny.experiment(BertConfig(**tiny.TRUNK, max_length=128, pair_head=False), MaskedLm())
