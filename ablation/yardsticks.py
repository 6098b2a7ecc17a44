"""Yardsticks: what all arms are asked alike, item by item, so that seeds and items can both be drawn again.

Each has a bias, and says it: an exact likelihood from left to right is what a causal model was trained for; a token
between both sides is what a masked model was. So a suite names several.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from ablation.results import Metric
from data.tokenizer import AnyTokenizer
from evaluation.batched import Watch
from evaluation.blocks import cut
from evaluation.curve import drawn_blocks
from evaluation.likelihood import any_order, carried, left_to_right
from evaluation.ngrams import ngram_score
from evaluation.oracle import documents
from evaluation.pseudo import pseudo_log_likelihood
from evaluation.regret import ANY, BOTH, LEFT, Slice, answers, best, losses
from evaluation.scores import Score
from evaluation.statistics import FEW
from evaluation.task import Entry, Settings
from evaluation.tasks.regret import known_source
from training.config import Experiment


class Items(NamedTuple):
    """What one run has of each item: a value of the metric is the sum of totals over the sum of weights."""

    total: Float64[np.ndarray, " U"]
    weight: Float64[np.ndarray, " U"]

    @property
    def value(self) -> float:
        return float(self.total.sum() / self.weight.sum())


Measured = Mapping[str, Items]
"""By the name of the metric."""

Measure = Callable[[Entry, Watch], Measured]


class Blind(NamedTuple):
    """What answers without looking: the most frequent answer, the mean."""

    name: str
    value: float  # of the first metric


@dataclasses.dataclass(frozen=True)
class Yardstick:
    """Metrics that are measured together. Items are the same, in the same order, for all arms and seeds."""

    metrics: tuple[Metric, ...]
    measure: Measure
    key: str  # says how it is measured: what is stored under another key is measured again
    asks: Callable[[Experiment], bool] = lambda experiment: True  # whether a model of this experiment can be asked
    length: int = 0  # tokens of a block; 0: the shortest window of the arms
    counted: Callable[[Entry], float] | None = None  # what 5-grams of the training text have by the first metric
    steps: Callable[[Experiment, AnyTokenizer], int] | None = None  # of training that a trial is asked by, or refused
    blind: Blind | None = None


BLOCKS = 256
"""Of the held-out text that likelihoods are asked of, whole ones, drawn once for all."""


def likelihood(positions: int = 0, kappa: int | None = None, length: int = 0, blocks: int = BLOCKS) -> Yardstick:
    """Exact bits per byte from left to right of so many `blocks` of the held-out text.

    A masked model is asked for so many `positions` of each, 0: all.
    """
    asked = f", at {positions} sampled places of a block where each needs a pass of its own" if positions else ""
    metric = Metric(
        "left to right",
        "bits/byte",
        "less",
        f"Exact likelihood of held-out text in reading order, each token given those before it in its block{asked}.",
    )

    def measure(entry: Entry, watch: Watch) -> Measured:
        subject, settings = entry.checkpoint.subject, Settings(entry.length, positions=positions)
        text, options = drawn_blocks(entry.blocks, blocks), settings.options(subject, kappa)
        return {metric.name: per_byte(left_to_right(subject, text, options, watch))}

    def counted(entry: Entry) -> float:
        return per_byte(ngram_score(entry.ngrams[-1], drawn_blocks(entry.blocks, blocks))).value

    key = f"likelihood {positions} {kappa} {blocks}"
    return Yardstick((metric,), measure, key, length=length, counted=counted)


def random_orders(orders: int = 2, positions: int = 0, length: int = 0, blocks: int = BLOCKS) -> Yardstick:
    """Exact bits per byte on average over random factorization orders, the same for all arms."""
    metric = Metric(
        "any order",
        "bits/byte",
        "less",
        f"Exact likelihood of held-out text in {'one random order' if orders == 1 else f'{orders} random orders'}; a "
        "causal model has but one order.",
    )

    def measure(entry: Entry, watch: Watch) -> Measured:
        subject, settings = entry.checkpoint.subject, Settings(entry.length, positions=positions)
        text, options = drawn_blocks(entry.blocks, blocks), settings.options(subject)
        found = [per_byte(score) for score in any_order(subject, text, orders, options, watch)]
        return {metric.name: Items(np.mean([each.total for each in found], axis=0), found[0].weight)}

    return Yardstick((metric,), measure, f"random orders {orders} {positions} {blocks}", any_other, length)


def carried_memory(length: int = 0) -> Yardstick:
    """Exact bits per byte from left to right of the whole held-out text, the memory carried through documents."""
    metric = Metric(
        "memory carried",
        "bits/byte",
        "less",
        "Exact likelihood of held-out text in reading order, each token given its block and what the memory holds.",
    )

    def measure(entry: Entry, watch: Watch) -> Measured:
        subject = entry.checkpoint.subject
        blocks = cut(entry.text.tokens, subject.vocab, entry.length, carried=True)
        return {metric.name: per_byte(carried(subject, blocks, Settings(entry.length).options(subject), watch))}

    return Yardstick((metric,), measure, "memory carried", reads_on, length)


def two_sided(positions: int = 8, length: int = 0, blocks: int = BLOCKS) -> Yardstick:
    """Bits per byte of single tokens between both sides: pseudo-log-likelihood, of models that see both."""
    metric = Metric(
        "two-sided",
        "pseudo-bits/byte",
        "less",
        f"Each of {positions or 'all'} tokens of a block given all others: no likelihood, nor asked of causal models.",
    )

    def measure(entry: Entry, watch: Watch) -> Measured:
        subject, settings = entry.checkpoint.subject, Settings(entry.length, positions=positions)
        text, options = drawn_blocks(entry.blocks, blocks), settings.options(subject)
        return {metric.name: per_byte(pseudo_log_likelihood(subject, text, options, watch))}

    return Yardstick((metric,), measure, f"two-sided {positions} {blocks}", any_other, length)


def regret(
    items: int = 256, positions: int = 0, orders: int = 1, *, parts: tuple[Slice, ...] = (LEFT, BOTH)
) -> Yardstick:
    """Bits a symbol above the optimum of a known source, by slice."""
    told = {LEFT: "from left to right", BOTH: "between both sides", ANY: "in random orders"}
    metrics = {
        part: Metric(
            f"regret, {part}", "bits/symbol", "less", f"Loss above that of the known source itself, {told[part]}."
        )
        for part in parts
    }

    def measure(entry: Entry, watch: Watch) -> Measured:
        subject, settings = entry.checkpoint.subject, Settings(entry.length, positions=positions, items=items)
        source = known_source([entry])
        asked = documents(source, entry.checkpoint.tokenizer, entry.blocks, items)
        options, found = settings.options(subject), {}
        for part in parts:
            given = answers(subject, asked, part, options, orders, watch)
            if given is not None:
                lost = losses(given, best(asked, part, options, orders), asked)
                found[metrics[part].name] = Items(lost.beyond, np.full(len(lost.beyond), float(lost.length)))
        return found

    asks = any_other if set(parts) == {ANY} else (lambda experiment: True)
    return Yardstick(tuple(metrics.values()), measure, f"regret {items} {positions} {orders} {parts}", asks)


def any_other(experiment: Experiment) -> bool:
    """Whether a model of this experiment can be asked for any token given any others."""
    return bool({"query", "mask", "before"} & set(experiment.objective.reads))


def reads_on(experiment: Experiment) -> bool:
    """Whether a model of this experiment can read a text block after block, each in one pass."""
    return bool({"right", "query"} & set(experiment.objective.reads))


def per_byte(score: Score) -> Items:
    """Bits over bytes, by document, or by block where there are few documents."""
    by_document = score.by_document()
    sums = by_document if len(by_document.nats) >= FEW else score.by_block()
    return Items(sums.nats / math.log(2), sums.num_bytes)
