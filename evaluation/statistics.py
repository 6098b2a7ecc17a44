"""How sure a number is: bootstrap intervals over documents, and differences of checkpoints on the same text."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Float64

from evaluation.scores import Score, Totals

DRAWS = 2000
FEW = 20
"""With fewer documents, blocks are what is drawn: an interval from a handful of documents says nothing."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; NaN where there is but one unit to draw from."""

    value: float
    low: float
    high: float
    error: float  # its bootstrap standard error
    unit: str = "document"  # what was drawn

    @property
    def z(self) -> float:
        """The value in standard errors; 0 for 0."""
        if self.value == 0:
            return 0.0
        return self.value / self.error if self.error else math.copysign(math.inf, self.value)


def ratio(
    numerator: Float64[np.ndarray, " U"],
    denominator: Float64[np.ndarray, " U"],
    *,
    unit: str = "document",
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """The ratio of two sums over units, with the percentile interval of the bootstrap (Efron and Tibshirani 1993).

    Units are drawn with replacement, numerator and denominator together: the same seed draws the same units.
    """
    value = float(numerator.sum() / denominator.sum())
    if len(numerator) < 2:
        return Estimate(value, math.nan, math.nan, math.nan, unit)
    drawn = resampled(np.stack([numerator, denominator]), draws, seed)
    ratios = drawn[0] / drawn[1]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Estimate(value, float(low), float(high), float(ratios.std(ddof=1)), unit)


def resampled(values: Float[np.ndarray, "K U"], draws: int, seed: int) -> Float64[np.ndarray, "K draws"]:
    """Sums of K quantities over so many samples of the units, of their own number and with replacement."""
    rng, units = np.random.default_rng(seed), values.shape[1]
    step = max(1, (1 << 22) // units)
    sums = []
    for first in range(0, draws, step):
        chosen = rng.integers(units, size=(min(step, draws - first), units))
        sums.append(values @ np.stack([np.bincount(units_of, minlength=units) for units_of in chosen], axis=1))
    return np.concatenate(sums, axis=1)


def bits_per_byte(score: Score) -> Estimate:
    """-log2 p of the text over the UTF-8 bytes of its decoded tokens."""
    unit, sums = _units(score)
    return ratio(sums.nats / math.log(2), sums.num_bytes, unit=unit)


def nats_per_token(score: Score) -> Estimate:
    """-log p of the text over its tokens."""
    unit, sums = _units(score)
    return ratio(sums.nats, sums.num_tokens, unit=unit)


def difference(one: Score, other: Score) -> Estimate | None:
    """Bits per byte of `one` minus those of `other`, paired by what is drawn; None where their units differ.

    Documents are the same for all tokenizers, blocks only for those that cut the text alike.
    """
    (unit, mine), (_, theirs) = _units(one), _units(other)
    if not np.array_equal(mine.num_bytes, theirs.num_bytes):
        unit, mine, theirs = "document", one.by_document(), other.by_document()
    if not np.array_equal(mine.num_bytes, theirs.num_bytes):
        return None
    return ratio((mine.nats - theirs.nats) / math.log(2), mine.num_bytes, unit=unit)


def sampling_error(score: Score) -> float:
    """Standard error of bits per byte that comes from asking a sample of positions only; 0 where all were asked."""
    return math.sqrt(score.sampling_variance().sum()) / math.log(2) / float(score.tokens.byte_length.sum())


def _units(score: Score) -> tuple[str, Totals]:
    by_document = score.by_document()
    return ("document", by_document) if len(by_document.nats) >= FEW else ("block", score.by_block())
