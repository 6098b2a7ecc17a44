"""How sure a mean over seeds is, for other seeds and other items: the crossed bootstrap."""

import math

import numpy as np
from jaxtyping import Float64

from ablation.results import Interval
from evaluation.statistics import DRAWS, resampled


def ratios(totals: Float64[np.ndarray, "S U"], weights: Float64[np.ndarray, "S U"]) -> Float64[np.ndarray, " S"]:
    """What a yardstick gives for each seed: the sum of totals over the sum of weights; NaN where that is not finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = totals.sum(axis=1) / weights.sum(axis=1)
    return np.where(np.isfinite(found), found, math.nan)


def crossed(
    totals: Float64[np.ndarray, "S U"],
    weights: Float64[np.ndarray, "S U"],
    other: tuple[Float64[np.ndarray, "S U"], Float64[np.ndarray, "S U"]] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """The mean of the seeds' ratios, or of what they have more than those of `other`, totals and weights of an arm.

    The interval is the percentile interval of the crossed bootstrap (Owen 2007, "The pigeonhole bootstrap"): seeds and
    items are drawn with replacement, independently, and the same for both arms. Only what there is more than one of is
    drawn: with one seed the interval says nothing of other seeds. It is NaN with one seed and one item, and where a
    seed has no finite ratio.

    The variance that is due to the seeds comes out (S - 1) / S of what it is, that due to the items likewise, and that
    of their interaction up to three times too great. With few seeds an interval is a picture; a test decides.
    """
    arms = [(totals, weights)] if other is None else [(totals, weights), other]
    by_seed = _one_or_difference([ratios(*arm) for arm in arms])
    value = float(by_seed.mean())
    if math.isnan(value) or totals.size == 1:
        return Interval(value, math.nan, math.nan)
    S = len(totals)
    sums = resampled(np.concatenate([part for arm in arms for part in arm]), draws, seed).reshape(-1, 2, S, draws)
    seeds = np.random.default_rng((seed, 1)).multinomial(S, np.full(S, 1 / S), size=draws).T  # not the items' stream
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = _one_or_difference(list(sums[:, 0] / sums[:, 1]))
    means = (seeds * drawn).sum(axis=0) / S
    low, high = np.percentile(means[np.isfinite(means)], [2.5, 97.5])  # without draws of weightless items alone
    return Interval(value, float(low), float(high))


def _one_or_difference(arms: list[Float64[np.ndarray, "..."]]) -> Float64[np.ndarray, "..."]:
    return arms[0] if len(arms) == 1 else arms[0] - arms[1]
