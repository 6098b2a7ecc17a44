"""Exact tests over paired seeds, which assume nothing but symmetry, and their correction for many claims."""

import itertools
import math
from typing import Literal

import numpy as np
from jaxtyping import Float64

from batch import InputError

MOST = 40
"""Seeds of a test: the sums of all sign patterns of one half of them, a million, are held at once."""
SLACK = 1e-9
"""Of the largest sum that signs can give: closer sums are one sum, rounded in two ways."""


def sign_flip(
    differences: Float64[np.ndarray, " S"], alternative: Literal["two-sided", "less", "greater"] = "two-sided"
) -> float:
    """The p of differences symmetric around 0, by Fisher's randomization test (1935); NaN where one is not finite.

    It is the share of all 2^S patterns of signs whose mean is as extreme as the differences' own, ties included;
    "less" and "greater" is what the mean is if the hypothesis is wrong. Two-sided, p is at least 2^(1-S). What two arms
    differ by is symmetric around 0 if the arms could be exchanged; of one arm and a number, symmetry is assumed.

    A sign pattern is as great as the observed one iff the differences that it flips have a sum of at most 0. So p falls
    as the differences rise: a one-sided p also holds for every mean on the far side of 0.
    """
    if len(differences) > MOST:
        raise InputError(f"seeds: {len(differences)} are given; the exact test takes at most {MOST}.")
    if not np.isfinite(differences).all():
        return math.nan
    total, slack = differences.sum(), SLACK * np.abs(differences).sum()
    # The patterns' sums are symmetric around 0, so that one tail is as good as the other.
    if alternative == "two-sided":
        return min(1.0, 2 * _share_of_at_least(abs(total) - slack, differences))
    return _share_of_at_least((total if alternative == "greater" else -total) - slack, differences)


def not_rejected(differences: Float64[np.ndarray, " S"], alpha: float = 0.05) -> tuple[float, float]:
    """The least and the greatest mean that the two-sided test does not reject at `alpha`: an exact interval for it.

    It leaves out 0 where the differences' own p is at most `alpha`. NaN where one is not finite, and with seeds so few
    that no mean is rejected, 2^(1-S) > alpha. (Tritchler 1984, "On inverting permutation tests".)
    """
    if not np.isfinite(differences).all() or 2.0 ** (1 - len(differences)) > alpha:
        return math.nan, math.nan
    return _least_kept(differences, alpha / 2), -_least_kept(-differences, alpha / 2)


def equivalence(differences: Float64[np.ndarray, " S"], margin: float) -> float:
    """The p of the hypothesis that the mean is not within `margin` of 0, by two one-sided sign-flip tests.

    Both have to reject, so neither is corrected (Schuirmann 1987; Berger 1982 for why the greater p is a p).
    """
    above, below = sign_flip(differences + margin, "greater"), sign_flip(differences - margin, "less")
    return float(np.maximum(above, below))


def outside(differences: Float64[np.ndarray, " S"], margin: float) -> float:
    """The p of the hypothesis that the mean is within `margin` of 0, by two one-sided sign-flip tests.

    Either may reject, so the smaller p counts twice (Bonferroni). A mean at one edge of the margin leaves that edge's
    test its whole error, and the other's comes on top: hardly any where the margin is wide for the noise, as much again
    where it is narrow. With a margin of 0 this is the two-sided test.
    """
    above, below = sign_flip(differences - margin, "greater"), sign_flip(differences + margin, "less")
    return float(np.minimum(1, 2 * np.minimum(above, below)))


def holm(p: Float64[np.ndarray, " C"]) -> Float64[np.ndarray, " C"]:
    """The level of the whole family at which Holm's step-down method (1979) rejects each hypothesis, at most 1.

    The smallest of C is multiplied by C, the next by C - 1, and none is less than one before it. A NaN stays NaN and is
    no part of the family.
    """
    family = np.flatnonzero(~np.isnan(p))
    order = family[np.argsort(p[family], kind="stable")]
    adjusted = np.full(len(p), math.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.arange(len(order), 0, -1) * p[order]))
    return adjusted


def seeds_needed(claims: int, alpha: float) -> int:
    """The least number of seeds with which every one of so many claims can be decided, whatever becomes of the others.

    The smallest two-sided p, 2^(1-S), has to survive the first step of Holm's method.
    """
    return next(seeds for seeds in itertools.count(1) if claims * 2.0 ** (1 - seeds) <= alpha)


def _least_kept(differences: Float64[np.ndarray, " S"], alpha: float) -> float:
    """The least mean of which the one-sided test does not say that it is too small; its p rises with the mean."""
    rejected, kept = differences.min() - np.ptp(differences) - 1, differences.max()
    while rejected < (middle := (rejected + kept) / 2) < kept:
        if sign_flip(differences - middle, "greater") > alpha:
            kept = middle
        else:
            rejected = middle
    return float(kept)


def _share_of_at_least(least: float, values: Float64[np.ndarray, " S"]) -> float:
    """Which part of the values' 2^S signed sums is `least` or more: pairs of the two halves' sums, one half sorted."""
    half = len(values) // 2
    one, other = _signed_sums(values[:half]), np.sort(_signed_sums(values[half:]))
    fitting = len(other) - np.searchsorted(other, least - one)
    return int(fitting.sum()) / 2 ** len(values)


def _signed_sums(values: Float64[np.ndarray, " S"]) -> Float64[np.ndarray, " patterns"]:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums
