"""Which sentence of a minimal pair a score prefers, and how often that is the acceptable one."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from evaluation.scores import Score, block_sums

TIE = 1e-6
"""Scores are even where they differ by a smaller share of themselves, which float32 cannot tell: the same tokens in
another order have one unigram probability, whatever the rounding of its sum."""


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """The share of pairs of which the good sentence is preferred, a tie counting one half; its standard error."""

    value: float
    error: float


def preferences(score: Score) -> Float64[np.ndarray, " pairs"]:
    """1 where the good sentence has the larger sum of log-probabilities, 0 where the bad one has, 1/2 where neither."""
    return _compared(_sums(score))


def preferences_per_token(score: Score) -> Float64[np.ndarray, " pairs"]:
    """The same by the mean over a sentence's tokens."""
    return _compared(_sums(score) / np.bincount(score.tokens.block))


def ties(outcome: Float64[np.ndarray, " pairs"]) -> int:
    """How many pairs are undecided."""
    return int((outcome == 0.5).sum())


def accuracy(outcome: Float64[np.ndarray, " pairs"]) -> Accuracy:
    """The mean over pairs; its error, as these are drawn, is that of a binomial share where there are no ties."""
    return Accuracy(float(outcome.mean()), float(outcome.std() / np.sqrt(len(outcome))))


def accuracies(outcome: Float64[np.ndarray, " pairs"], kinds: Sequence[str]) -> dict[str, Accuracy]:
    """The accuracy on the pairs of each kind, the kinds in alphabetical order."""
    of = np.array(kinds)
    return {str(kind): accuracy(outcome[of == kind]) for kind in np.unique(of)}


def mean_accuracy(parts: Sequence[Accuracy]) -> Accuracy:
    """The mean over paradigms, which is what BLiMP reports: paradigms are given, the pairs within them drawn."""
    value = float(np.mean([part.value for part in parts]))
    return Accuracy(value, float(np.sqrt(np.sum([part.error**2 for part in parts])) / len(parts)))


def _sums(score: Score) -> Float64[np.ndarray, " sentences"]:
    return block_sums(score, int(score.tokens.block.max()) + 1)


def _compared(scores: Float64[np.ndarray, " sentences"]) -> Float64[np.ndarray, " pairs"]:
    good, bad = scores.reshape(2, -1)
    even = np.abs(good - bad) <= TIE * np.maximum(np.abs(good), np.abs(bad))
    return np.where(even, 0.5, (good > bad).astype(float))
