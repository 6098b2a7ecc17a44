"""Answers to questions, judged as SQuAD's scripts do: exact match and F1 of words, the best of several references.

Version 1.1 is Rajpurkar et al. 2016; 2.0, with questions that have no answer, Rajpurkar, Jia and Liang 2018.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64

from finetuning.metrics.overlap import Overlap

Judge = Callable[[str, str], float]
"""What a prediction is worth, in [0, 1], if the answer is the second text."""

WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text: str) -> str:
    """Lower case, without ASCII punctuation and the words a, an and the, one space between words."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(WITHOUT_PUNCTUATION)).split())


def exact(predicted: str, reference: str) -> float:
    """1 where both are the same after normalization, or else 0."""
    return float(normalized(predicted) == normalized(reference))


def word_f1(predicted: str, reference: str) -> float:
    """F1 of the bags of normalized words; where either is empty, 1 if both are, or else 0."""
    found, there = (Counter(normalized(text).split()) for text in (predicted, reference))
    if not found or not there:
        return float(found == there)
    return Overlap((found & there).total(), found.total(), there.total()).f1


def judged(judge: Judge, predicted: Sequence[str], references: Sequence[Sequence[str]]) -> Float64[np.ndarray, " Q"]:
    """The best that each prediction is worth by any of its references; a question without any has the answer ""."""
    pairs = zip(predicted, references, strict=True)
    return np.array([max(judge(text, each) for each in known or ("",)) for text, known in pairs], np.float64)


def mean(judge: Judge, predicted: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The same on average over the questions; 0 of none."""
    return float(judged(judge, predicted, references).mean()) if predicted else 0.0


def squad2(
    predicted: Sequence[str],
    references: Sequence[Sequence[str]],
    odds: Float[np.ndarray, " Q"],
    threshold: float = 0.0,
) -> dict[str, float]:
    """What the script of SQuAD 2.0 says, by its names, as fractions; HasAns_ and NoAns_ only where there are such.

    `predicted` is the best answer that is not empty, though it may be; `odds` say how much a model prefers none, in
    any unit. Above the threshold the answer is none; below, and in the search for the best thresholds, as predicted.
    References that normalize to nothing are left out, as in the script.
    """
    answerable = np.array([bool(known) for known in references], bool)
    usable = [[each for each in known if normalized(each)] for known in references]
    empty = np.array([not text for text in predicted], bool)
    report, best = {}, {}
    for name, judge in (("exact", exact), ("f1", word_f1)):
        scores = judged(judge, predicted, usable)
        report[name] = np.where(odds > threshold, ~answerable, scores)
        best[f"best_{name}"], best[f"best_{name}_thresh"] = best_threshold(scores, empty, answerable, odds)
    groups = (("", np.ones_like(answerable)), ("HasAns_", answerable), ("NoAns_", ~answerable))
    means = {
        f"{group}{name}": float(scores[members].mean())
        for group, members in groups
        for name, scores in report.items()
        if members.any()
    }
    return means | best


def best_threshold(
    scores: Float[np.ndarray, " Q"],
    empty: Bool[np.ndarray, " Q"],
    answerable: Bool[np.ndarray, " Q"],
    odds: Float[np.ndarray, " Q"],
) -> tuple[float, float]:
    """The best mean score that a threshold on the odds of no answer can give, and that threshold, as the script scans.

    It begins with no answer to any question and gives its answers one by one, the least odds first: an answerable one
    adds its score, another takes 1 away unless what is predicted is empty. Equal odds are taken in the order of the
    questions, and apart, so that between them the threshold promises too much. Where no answer at all is best the
    script says 0, which is right for probabilities; log odds may be less, and then a number below all of them is
    returned.
    """
    if not len(scores):
        return 0.0, 0.0
    order = np.argsort(odds, kind="stable")
    gains = np.where(answerable, scores, -1.0 * ~empty)[order]
    totals = (~answerable).sum() + np.concatenate([[0.0], np.cumsum(gains)])
    best = int(totals.argmax())
    threshold = odds[order[best - 1]] if best else min(0.0, np.nextafter(odds.min(), -np.inf))
    return float(totals[best] / len(scores)), float(threshold)
