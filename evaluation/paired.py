"""Two models on the same items: who is right where the other is not (McNemar 1947)."""

import dataclasses

import numpy as np
import scipy.stats
from jaxtyping import Float64


@dataclasses.dataclass(frozen=True)
class Paired:
    difference: float  # accuracy of the first minus the second's
    error: float  # its standard error, as the items are drawn for both
    first: int  # items on which the first does better
    second: int
    p: float  # of so uneven a split of these items or more, if either did better with the same probability


def mcnemar(first: Float64[np.ndarray, " items"], second: Float64[np.ndarray, " items"]) -> Paired:
    """McNemar's exact test, two-sided: 1 is right, 0 wrong, and 1/2 a tie, which is better than wrong."""
    change = first - second
    ahead, behind = int((change > 0).sum()), int((change < 0).sum())
    p = float(scipy.stats.binomtest(ahead, ahead + behind).pvalue) if ahead + behind else 1.0
    return Paired(float(change.mean()), float(change.std() / np.sqrt(len(change))), ahead, behind, p)
