"""Whether the conditionals of a model belong to one distribution (Torroba Hennigen and Kim 2023)."""

import math

import numpy as np

from ablation.findings.asking import ROWS, SEED, asked_model, fills, source_of
from ablation.results import Metric
from ablation.yardsticks import Items, Measured, Yardstick
from data.sources.markov import Markov
from evaluation.batched import Watch
from evaluation.likelihood import Options, any_order
from evaluation.scores import Score, block_sums
from evaluation.task import Entry

STRINGS, ORDERS = 24, 4

SPREAD = Metric(
    "spread over orders",
    "bits/symbol",
    "less",
    "Standard deviation of a string's bits over random orders of the chain rule: 0 for a model of one distribution.",
)


def spread_over_orders() -> Yardstick:
    """How much the likelihood of a string depends on the order in which it is asked for."""

    def measure(entry: Entry, watch: Watch) -> Measured:
        source = source_of(entry.checkpoint.experiment, Markov)
        model = asked_model(entry, source)
        blocks = model.blocks(source.sample(STRINGS, SEED))
        return {SPREAD.name: spread(any_order(model.subject, blocks, ORDERS, Options(batch=ROWS), watch), STRINGS)}

    return Yardstick((SPREAD,), measure, f"spread of {STRINGS} over {ORDERS}", fills("markov"))


def spread(scores: tuple[Score, ...], blocks: int) -> Items:
    """The standard deviation of each block's bits over the orders, and its symbols."""
    sums = np.stack([block_sums(score, blocks) for score in scores]) / math.log(2)
    return Items(sums.std(axis=0, ddof=1), np.bincount(scores[0].tokens.block, minlength=blocks).astype(np.float64))
