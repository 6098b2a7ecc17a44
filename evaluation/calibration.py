"""Whether probabilities are what they say: of tokens that are given 70 %, 7 in 10 should be what the text holds."""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, Int

from batch import Vocab
from evaluation.batched import Watch, in_batches, silent
from evaluation.bayes import ngram_joint, normalized
from evaluation.blocks import Blocks, emittable
from evaluation.likelihood import Visible, natural
from evaluation.ngrams import Ngrams
from evaluation.passes import Subject, distribution
from evaluation.statistics import DRAWS, FEW, Estimate, ratio, resampled

BINS = 15

COUNTED = 1 << 22
"""Probabilities that n-grams are asked for at most: each is looked up."""

Binning = Literal["equal mass", "equal width"]
"""As many answers in each bin (Nguyen and O'Connor 2015), or bins as wide (Guo et al. 2017)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What a model gave its questions: the truth, and what it held likeliest."""

    log_p: Float64[np.ndarray, " Q"]  # of the truth
    confidence: Float64[np.ndarray, " Q"]  # probability of what it held likeliest
    right: Bool[np.ndarray, " Q"]  # whether that was the truth
    square: Float64[np.ndarray, " Q"]  # the sum of its squared probabilities
    unit: Int[np.ndarray, " Q"]  # what intervals draw: questions, or the documents or blocks that they stand in
    drawn: str = "item"

    @property
    def brier(self) -> Float64[np.ndarray, " Q"]:
        """Squared distance to the truth: 0 where that has probability 1, 2 where another has (Brier 1950)."""
        return self.square - 2 * np.exp(self.log_p) + 1


def chosen(log_p: Float64[np.ndarray, "Q C"], truth: Int[np.ndarray, " Q"]) -> Answers:
    """The answers of whole distributions, a unit each."""
    number = np.arange(len(truth))
    likeliest, p = log_p.argmax(axis=1), np.exp(log_p)
    return Answers(log_p[number, truth], p[number, likeliest], likeliest == truth, (p**2).sum(axis=1), unit=number)


def beliefs(logits: Float[Array, "B P V"], labels: Int[Array, "B P"], vocab: Vocab) -> tuple[Array, ...]:
    """The same of the logits of a pass, by which it may be judged."""
    log_p = distribution(logits, labels, vocab)
    true = jnp.take_along_axis(log_p, labels[:, :, None], axis=2)[:, :, 0]
    right = log_p.argmax(axis=-1) == labels
    return true, jnp.exp(log_p.max(axis=-1)), right, jnp.exp(2 * log_p).sum(axis=-1)


def in_one_pass(
    subject: Subject, blocks: Blocks, asked: Bool[np.ndarray, "N L"], batch: int, watch: Watch = silent
) -> Answers:
    """What a model that reads a block in one pass gives the asked tokens in reading order."""
    order, real, found = natural(blocks), blocks.real, [np.zeros(asked.shape) for _ in range(4)]

    def ask(part: Int[np.ndarray, " B"]) -> Any:
        given = (np.ones(len(part), bool), blocks.tokens[part], real[part], order[part])
        return subject.chain_judged(beliefs)(subject.params, None, *given)[0]

    for part, judged in in_batches(blocks.num_blocks, batch, ask, watch):
        for all_found, own in zip(found, judged, strict=True):
            all_found[part, 1:] = own
    return _of_text(blocks, np.nonzero(asked)[0], *(each[asked] for each in found))


def one_by_one(
    subject: Subject,
    blocks: Blocks,
    asked: Bool[np.ndarray, "N L"],
    visible: Visible,
    batch: int,
    watch: Watch = silent,
) -> Answers:
    """What a model gives each asked token given what is `visible`, a row of a pass each."""
    block, place = np.nonzero(asked)
    found = [np.zeros(len(block)) for _ in range(4)]

    def ask(part: Int[np.ndarray, " B"]) -> Any:
        where, target = block[part], place[part]
        return subject.single_judged(beliefs)(subject.params, blocks.tokens[where], *visible(where, target), target)

    for part, judged in in_batches(len(block), batch, ask, watch):
        for all_found, own in zip(found, judged, strict=True):
            all_found[part] = own
    return _of_text(blocks, block, *found)


def of_ngrams(ngrams: Ngrams, blocks: Blocks, asked: Bool[np.ndarray, "N L"], *, both_sides: bool) -> Answers:
    """What n-grams give the asked tokens, or a sample of them: from the left, or by Bayes' rule from both sides."""
    block, place = np.nonzero(asked)
    ids = np.flatnonzero(emittable(ngrams.vocab))
    most = min(max(COUNTED // len(ids), 1), len(block))
    drawn = np.sort(np.random.default_rng(0).choice(len(block), most, replace=False))
    block, place = block[drawn], place[drawn]
    if not both_sides:  # as if nothing else were scored
        scored = np.arange(blocks.length) == place[:, None]
        blocks = dataclasses.replace(blocks, tokens=blocks.tokens[block], source=blocks.source[block], scored=scored,
                                     document=blocks.document[block])  # fmt: skip
        block = np.arange(len(block))
    spans = np.broadcast_to(ids[:, None], (len(block), len(ids), 1))
    found = chosen(
        normalized(ngram_joint(ngrams, blocks, block, place, spans)), np.searchsorted(ids, blocks.tokens[block, place])
    )
    return _of_text(blocks, block, found.log_p, found.confidence, found.right, found.square)


def mean(answers: Answers, values: Float64[np.ndarray, " Q"]) -> Estimate:
    """The mean of a number over the questions."""
    _, unit = np.unique(answers.unit, return_inverse=True)
    sums, counts = np.bincount(unit, values), np.bincount(unit).astype(np.float64)
    return ratio(sums, counts, unit=answers.drawn)


def overconfidence(answers: Answers) -> Estimate:
    """Mean confidence less accuracy."""
    return mean(answers, answers.confidence - answers.right)


def bins_of(confidence: Float64[np.ndarray, " Q"], binning: Binning) -> Int[np.ndarray, " Q"]:
    """The bin of each answer, 0 ... BINS - 1."""
    if binning == "equal width":
        return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    rank = np.searchsorted(np.sort(confidence), confidence)  # as confident answers stay together
    return rank * BINS // len(confidence)


@dataclasses.dataclass(frozen=True, eq=False)
class Bins:
    """Answers by their confidence, least first; 0 in a bin without any."""

    count: Int[np.ndarray, " bins"]
    confidence: Float64[np.ndarray, " bins"]  # mean
    accuracy: Float64[np.ndarray, " bins"]


def bins(answers: Answers, binning: Binning) -> Bins:
    """What is in each of the BINS bins."""
    members = bins_of(answers.confidence, binning)
    count = np.bincount(members, minlength=BINS)
    sums = (np.bincount(members, values, BINS) for values in (answers.confidence, answers.right))
    return Bins(count, *(each / np.maximum(count, 1) for each in sums))


def wilson(
    share: Float64[np.ndarray, " bins"], count: Int[np.ndarray, " bins"]
) -> tuple[Float64[np.ndarray, " bins"], Float64[np.ndarray, " bins"]]:
    """95 % intervals of shares of so many, which hold near 0 and 1 too (Wilson 1927)."""
    z = 1.96
    middle, scale = share + z**2 / (2 * count), 1 + z**2 / count
    half = z * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return np.minimum((middle - half) / scale, share), np.maximum((middle + half) / scale, share)


def calibration_error(answers: Answers, binning: Binning) -> Estimate:
    """ECE: how far accuracy is from confidence in a bin, on average over the answers.

    It is never negative, so that chance alone lifts it, and its bootstrap once more: `calibrated_error` says how far.
    """
    members = bins_of(answers.confidence, binning)
    _, unit = np.unique(answers.unit, return_inverse=True)
    size = unit.max() + 1
    gap = answers.confidence - answers.right
    sums = np.bincount(members * size + unit, gap, BINS * size).reshape(BINS, size)
    counts = np.bincount(unit, minlength=size).astype(np.float64)
    value = float(np.abs(sums.sum(axis=1)).sum() / counts.sum())
    if size < 2:
        return Estimate(value, np.nan, np.nan, np.nan, answers.drawn)
    drawn = resampled(np.concatenate([sums, counts[None]]), DRAWS, seed=0)
    errors = np.abs(drawn[:-1]).sum(axis=0) / drawn[-1]
    low, high = np.percentile(errors, [2.5, 97.5])
    return Estimate(value, float(low), float(high), float(errors.std(ddof=1)), answers.drawn)


def calibrated_error(answers: Answers, binning: Binning) -> float:
    """The ECE to expect of a model that is right as often as it says: what so few answers leave to chance.

    The gap of a bin is then normal around 0, nearly, with the variance of its answers' coins.
    """
    members = bins_of(answers.confidence, binning)
    variance = np.bincount(members, answers.confidence * (1 - answers.confidence), BINS)
    return float(np.sqrt(2 / np.pi * np.maximum(variance, 0)).sum() / len(members))


def _of_text(blocks: Blocks, block: Int[np.ndarray, " Q"], *found: np.ndarray) -> Answers:
    """Answers about tokens of these blocks, with documents as units, or blocks where there are few."""
    log_p, confidence, right, square = found
    few = len(np.unique(blocks.document[block])) < FEW
    unit, drawn = (block, "block") if few else (blocks.document[block], "document")
    return Answers(log_p, confidence, right.astype(bool), square, unit, drawn)
