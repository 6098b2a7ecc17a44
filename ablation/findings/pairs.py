"""What predictions lose that are made at once: the mutual information of a pair (Yang et al. 2019, section 2.6)."""

import dataclasses

import numpy as np
from jaxtyping import Float64, Int64

from ablation.findings.asking import SEED, Answers, Asked, Questions, asked_model, bits, fills, reads_from, source_of
from ablation.results import Metric
from ablation.yardsticks import Items, Measured, Yardstick
from data.sources.coupled import Coupled
from evaluation.batched import Watch
from evaluation.task import Entry

GROUPS, ASKED = 6, 3
"""Groups of a string, and which of them is asked about."""

AMID = 3
"""Texts in which every pair is asked for: the same for all, so that each pair counts by its probability exactly."""

LOST = Metric(
    "pairs, lost at once",
    "slope",
    "less",
    "Bits that a and b cost more together when both are hidden than one after the other, for each bit of I(a; b).",
)
FOUND = Metric(
    "pairs, found in turn",
    "slope",
    "more",
    "Bits that a and b, one after the other, cost less than 2 log V, for each bit of I(a; b).",
)


def lost_at_once() -> Yardstick:
    """The slope of what is lost against the information of the contexts, through the origin: 1 in theory."""

    def measure(entry: Entry, watch: Watch) -> Measured:
        source, model = _opened(entry)
        answers = model.answers(watch)
        lost = bits_at_once(source, answers) - bits_in_turn(source, answers, causal=False)
        return {LOST.name: against_information(source, lost)}

    return Yardstick((LOST,), measure, "pairs at once", fills("coupled"))


def found_in_turn() -> Yardstick:
    """The slope of what the chain rule finds, of every kind of model: 1 in theory."""

    def measure(entry: Entry, watch: Watch) -> Measured:
        source, model = _opened(entry)
        in_turn = bits_in_turn(source, model.answers(watch), causal=not model.subject.any_order)
        return {FOUND.name: against_information(source, 2 * np.log2(source.symbols) - in_turn)}

    return Yardstick((FOUND,), measure, "pairs in turn", reads_from("coupled"))


def bits_at_once(source: Coupled, answers: Answers) -> Float64[np.ndarray, " Q"]:
    """Bits of every pair, a and b both hidden and all else shown."""
    first = source.table.width * ASKED + 1
    return sum_of(source, answers, [(place, (first, first + 1)) for place in (first, first + 1)])


def bits_in_turn(source: Coupled, answers: Answers, *, causal: bool) -> Float64[np.ndarray, " Q"]:
    """Bits of every pair, a before b; a `causal` model is not shown what comes after them."""
    first, end = source.table.width * ASKED + 1, source.table.width * GROUPS
    last = end if causal else first + 2
    return sum_of(source, answers, [(place, tuple(range(place, last))) for place in (first, first + 1)])


def sum_of(source: Coupled, answers: Answers, asked: list[tuple[int, tuple[int, ...]]]) -> Float64[np.ndarray, " Q"]:
    """Bits of every pair: the sum over the places that are asked for, each with what is then hidden."""
    strings = every_pair(source)
    total, index = np.zeros(len(strings)), np.arange(strings.shape[1])
    for place, hidden in asked:
        shown = np.tile(~np.isin(index, hidden), (len(strings), 1))
        total += bits(Questions(strings, shown, np.full(len(strings), place)), answers)
    return total


def every_pair(source: Coupled) -> Int64[np.ndarray, "Q n"]:
    """For each of some texts, one string for each row of the source's table, which stands in its middle."""
    table, first = source.table, source.table.width * ASKED
    strings = np.repeat(dataclasses.replace(source, groups=GROUPS).sample(AMID, SEED), len(table.p), axis=0)
    strings[:, first : first + table.width] = np.tile(table.rows, (AMID, 1))
    return strings


def against_information(source: Coupled, bits: Float64[np.ndarray, " Q"]) -> Items:
    """The least-squares slope, through the origin, of bits against I(a; b), over all pairs by their probability."""
    context = source.table.rows[:, 0] - source.symbols
    information, p = np.tile(source.information[context] / np.log(2), AMID), np.tile(source.table.p, AMID)
    return Items(p * bits * information, p * information**2)


def _opened(entry: Entry) -> tuple[Coupled, Asked]:
    source = source_of(entry.checkpoint.experiment, Coupled)
    return source, asked_model(entry, source)
