"""Regret: the bits a symbol that a model loses to the optimum of a known source, on the same questions.

The source is told what the models are told: the symbols that are visible, and their places in the document. Its
posterior is that of a model which has learned all there is, so that regret is the divergence of the two, estimated from
the symbols that were drawn: what is hard for everybody cancels. Alphabet and length are given: probabilities are
renormalized over the source's letters. Three slices are asked: left to right, each symbol given all others, and in
random orders.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from evaluation.batched import Watch, silent
from evaluation.bayes import bayes, ngram_joint, normalized
from evaluation.likelihood import Options, any_order, before, left_to_right, natural, random_order, sampled
from evaluation.ngrams import Ngrams, ngram_score
from evaluation.oracle import Documents, Optimum, optimum
from evaluation.passes import Subject
from evaluation.pseudo import all_but, pseudo_log_likelihood
from evaluation.scores import TokenScores, token_scores
from evaluation.statistics import Estimate, ratio

Slice = Literal["left to right", "two-sided", "any order"]
LEFT, BOTH, ANY = "left to right", "two-sided", "any order"

Answers = tuple[TokenScores, ...]
"""Of one slice: one, or one for each order."""

Posteriors = Callable[[Int64[np.ndarray, " Q"], Int64[np.ndarray, " Q"]], Float64[np.ndarray, "Q V"]]
"""Log-probabilities of all symbols, for questions about places (second argument) of blocks (first argument)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Losses:
    """Bits of each document: the optimum's, and what somebody lost beyond."""

    optimum: Float64[np.ndarray, " N"]
    beyond: Float64[np.ndarray, " N"]
    length: int  # symbols of a document
    leaked: float  # mean probability of ids that are no letters, before renormalization; NaN by Bayes' rule

    @property
    def bits(self) -> Estimate:
        """Bits a symbol."""
        return self._mean(self.optimum + self.beyond)

    @property
    def regret(self) -> Estimate:
        """Bits a symbol above the optimum."""
        return self._mean(self.beyond)

    def minus(self, other: "Losses") -> Estimate:
        """Bits a symbol more than another, document by document."""
        return self._mean(self.beyond - other.beyond)

    def _mean(self, bits: Float64[np.ndarray, " N"]) -> Estimate:
        return ratio(bits, np.full(len(bits), float(self.length)))


def best(
    documents: Documents, part: Slice, options: Options, orders: int, watch: Watch = silent
) -> tuple[Optimum, ...]:
    """The optimum of the questions of one slice, for every symbol that any model is asked for."""
    blocks = documents.blocks
    if part == BOTH:
        return (optimum(documents, all_but(blocks, whole=False), sampled(blocks, options), watch),)
    ranks = [natural(blocks)] if part == LEFT else [random_order(blocks, i) for i in range(orders)]
    found = []
    for i, rank in enumerate(ranks):
        told = lambda done, total, i=i: watch(i * total + done, len(ranks) * total)  # noqa: E731
        found.append(optimum(documents, before(blocks, rank, None), blocks.scored, told))
    return tuple(found)


def answers(
    subject: Subject, documents: Documents, part: Slice, options: Options, orders: int, watch: Watch = silent
) -> Answers | None:
    """What a model answers; None where a slice asks nothing that it knows.

    A model that reads one way knows a symbol between two sides by Bayes' rule.
    """
    blocks, subject = documents.blocks, dataclasses.replace(subject, vocab=documents.vocab)
    if part == LEFT:
        return (left_to_right(subject, blocks, options, watch).tokens,)
    if part == ANY:
        scores = any_order(subject, blocks, orders, options, watch) if subject.any_order else ()
        return tuple(score.tokens for score in scores) or None
    if subject.any_order:
        return (pseudo_log_likelihood(subject, blocks, options, watch).tokens,)

    def posteriors(block: Int64[np.ndarray, " Q"], place: Int64[np.ndarray, " Q"]) -> Float64[np.ndarray, "Q V"]:
        candidates = np.tile(documents.letters, (len(block), 1))
        return bayes(subject, blocks, block, place, candidates, options.batch, watch)

    return (_by_bayes(documents, sampled(blocks, options), posteriors),)


def counted_answers(ngrams: Ngrams, documents: Documents, part: Slice, options: Options) -> Answers | None:
    """What n-grams of letters answer, likewise; random orders ask for histories that they do not have."""
    blocks = documents.blocks
    if part == ANY:
        return None
    if part == LEFT:
        return (ngram_score(ngrams, blocks).tokens,)

    def posteriors(block: Int64[np.ndarray, " Q"], place: Int64[np.ndarray, " Q"]) -> Float64[np.ndarray, "Q V"]:
        spans = np.tile(documents.letters[:, None], (len(block), 1, 1))
        return normalized(ngram_joint(ngrams, blocks, block, place, spans))

    return (_by_bayes(documents, sampled(blocks, options), posteriors),)


def losses(found: Answers, optima: Sequence[Optimum], documents: Documents) -> Losses:
    """Of answers, on average over orders. The optimum is asked for the same symbols, whole or sampled alike."""
    pairs = [(own, one.tokens.log_p) for own, one in zip(found, optima, strict=True)]
    return _losses(pairs, documents)


def own_losses(optima: Sequence[Optimum], documents: Documents) -> Losses:
    """Of the optimum, beyond what its posteriors expect: nothing on average, if the text is the source's."""
    return _losses([(one.tokens, -one.entropy) for one in optima], documents)


def _losses(pairs: Sequence[tuple[TokenScores, Float64[np.ndarray, " T"]]], documents: Documents) -> Losses:
    count, size = documents.symbols.shape
    optimum, beyond, leaked = np.zeros(count), np.zeros(count), 0.0
    for own, log_p in pairs:
        asked = own.weight > 0
        weight, block = own.weight[asked] / len(pairs), own.block[asked]
        optimum -= np.bincount(block, weight * log_p[asked], count) / math.log(2)
        beyond += np.bincount(block, weight * (log_p - own.log_p)[asked], count) / math.log(2)
        leaked += float(weight @ own.leaked[asked]) / (count * size)
    return Losses(optimum, beyond, size, leaked)


def _by_bayes(documents: Documents, asked: Bool[np.ndarray, "N L"], posteriors: Posteriors) -> TokenScores:
    log_p = np.full(asked.shape, np.nan)
    block, place = np.nonzero(asked)
    symbol = documents.symbols[block, place - 1]
    log_p[block, place] = posteriors(block, place)[np.arange(len(block)), symbol]
    return token_scores(documents.blocks, log_p, np.full_like(log_p, np.nan), asked)
