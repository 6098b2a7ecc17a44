"""Order consistency: a text has one probability, whatever the order in which a model reads it."""

import dataclasses
import math

import numpy as np

from evaluation.likelihood import mixture
from evaluation.scores import Score, block_sums


@dataclasses.dataclass(frozen=True)
class Consistency:
    """Bits per byte over m random orders.

    `mean` is the average of m likelihoods; it is no likelihood itself, but at least the bits of one: those of
    `mixture`, which draws one of the orders for each block. `spread` is the standard deviation over orders of the bits
    of a block, per byte of an average block: 0 for a model whose conditionals belong to one joint distribution.
    """

    orders: int
    mean: float
    mixture: float
    spread: float


def consistency(scores: tuple[Score, ...], num_blocks: int) -> Consistency:
    """What the scores of at least two orders say together.

    Where positions were sampled, the variance that this adds is taken off the spread, and there is no mixture (NaN):
    the mean of exponentials of estimates would be biased.
    """
    sums = np.stack([block_sums(score, num_blocks) for score in scores]) / math.log(2)
    num_bytes = float(scores[0].tokens.byte_length.sum())
    sampling = np.mean([score.sampling_variance().sum() for score in scores]) / num_blocks / math.log(2) ** 2
    variance = max(float(sums.var(axis=0, ddof=1).mean() - sampling), 0.0)
    mixed = -mixture(scores, num_blocks).sum() / math.log(2) / num_bytes if not sampling else math.nan
    return Consistency(
        orders=len(scores),
        mean=float(-sums.sum() / len(scores) / num_bytes),
        mixture=float(mixed),
        spread=math.sqrt(variance) * num_blocks / num_bytes,
    )
