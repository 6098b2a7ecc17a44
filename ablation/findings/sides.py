"""What a model loses to the optimum from one side and between both, on average over what may be there."""

import numpy as np

from ablation.findings.asking import (
    SEED,
    Answers,
    Questions,
    asked_model,
    expected_bits,
    optimum,
    reads_from,
    source_of,
)
from ablation.results import Metric
from ablation.yardsticks import Items, Measured, Yardstick
from data.sources import Source
from data.sources.markov import Markov
from evaluation.batched import Watch
from evaluation.task import Entry

STRINGS = 24
"""Whose every symbol is asked for."""

_TOLD = "KL divergence of a symbol from what the source says of it, {}."
LEFT = Metric("regret from the left", "bits/symbol", "less", _TOLD.format("given those before it"))
BOTH = Metric(
    "regret between both sides", "bits/symbol", "less", _TOLD.format("given all others, by Bayes' rule if causal")
)
GAINED = Metric(
    "gained by both sides",
    "bits/symbol",
    "more",
    "log2 PPL - log2 PPPL: bits that a symbol costs more from left to right than given all others.",
)


def both_sides() -> Yardstick:
    """Regret from one side and from both, and what the second side is worth."""

    def measure(entry: Entry, watch: Watch) -> Measured:
        source = source_of(entry.checkpoint.experiment, Markov)
        return sides(source, asked_model(entry, source).answers(watch))

    return Yardstick((LEFT, BOTH, GAINED), measure, f"both sides of {STRINGS}", reads_from("markov"))


def sides(source: Source, answers: Answers) -> Measured:
    """What answers lose to the source's own, and what they gain by the second side; a string is an item."""
    strings, index = source.sample(STRINGS, SEED), np.arange(source.length)
    row, place = np.repeat(np.arange(STRINGS), source.length), np.tile(index, STRINGS)
    left = Questions(strings[row], index < place[:, None], place)
    both = Questions(strings[row], index != place[:, None], place)
    cost = {part: expected_bits(source, part, answers) for part in (left, both)}
    least = {part: expected_bits(source, part, optimum(source)) for part in (left, both)}
    found = {LEFT: cost[left] - least[left], BOTH: cost[both] - least[both], GAINED: cost[left] - cost[both]}
    size = np.full(STRINGS, float(source.length))
    return {metric.name: Items(np.bincount(row, values, STRINGS), size) for metric, values in found.items()}
