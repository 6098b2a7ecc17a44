"""Correlations: of classes (Matthews), of numbers (Pearson) and of their ranks (Spearman).

Where either side is all alike, a correlation is 0/0. It counts as 0 here, and `undefined` says so to people: a model
that has collapsed to one class, or to the mean, gets what chance gets.
"""

import numpy as np
from jaxtyping import Float64, Int, Num


def matthews(predicted: Int[np.ndarray, " Q"], truth: Int[np.ndarray, " Q"]) -> float:
    """Matthews' coefficient (1975) in [-1, 1], for any number of classes (Gorodkin 2004); 0 where it is undefined.

    It is the covariance of the two sides' one-hot vectors over the square root of the product of their variances, all
    times the squared number of examples, which leaves integers.
    """
    classes, numbers = np.unique(np.concatenate([predicted, truth]), return_inverse=True)
    one, other = (np.bincount(side, minlength=len(classes)) for side in np.split(numbers, 2))
    number, right = len(truth), int((predicted == truth).sum())
    variances = [number**2 - int(counts @ counts) for counts in (one, other)]
    if not all(variances):
        return 0.0
    covariance = right * number - int(one @ other)
    return covariance / (variances[0] ** 0.5 * variances[1] ** 0.5)


def pearson(predicted: Num[np.ndarray, " Q"], truth: Num[np.ndarray, " Q"]) -> float:
    """Pearson's r in [-1, 1], in float64; 0 where it is undefined."""
    if undefined(predicted, truth):
        return 0.0
    one, other = _standardized(predicted), _standardized(truth)
    return float(np.clip(one @ other, -1, 1))


def spearman(predicted: Num[np.ndarray, " Q"], truth: Num[np.ndarray, " Q"]) -> float:
    """Pearson's r of the ranks in [-1, 1], equal values sharing their mean rank; 0 where it is undefined."""
    if undefined(predicted, truth):
        return 0.0
    return pearson(ranks(predicted), ranks(truth))


def ranks(values: Num[np.ndarray, " Q"]) -> Float64[np.ndarray, " Q"]:
    """The rank of each value, 1 for the least; equal ones share the mean of their ranks."""
    _, number, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[number]


def undefined(predicted: Num[np.ndarray, " Q"], truth: Num[np.ndarray, " Q"]) -> str | None:
    """Why a correlation of the two counts as 0, in one sentence, or None where it is defined."""
    for name, values in (("predictions", predicted), ("labels", truth)):
        if len(values) < 2:
            return f"A correlation takes two examples at least, and here are {len(values)}: it counts as 0."
        if not np.isfinite(values).all():
            return f"Some {name} are not finite: their correlation counts as 0."
        if values.min() == values.max():
            return f"All {name} are {values[0]:.6g}, which correlates with nothing: the correlation counts as 0."
    return None


def _standardized(values: Num[np.ndarray, " Q"]) -> Float64[np.ndarray, " Q"]:
    """The values with mean 0 and length 1; by way of [0, 1], so that no square under- or overflows."""
    values = values.astype(np.float64)
    values = (values - values.min()) / np.ptp(values)
    centered = values - values.mean()
    return centered / np.linalg.norm(centered)
