"""How much more is lost the more is hidden: the total correlation of what is predicted at once, by mask rate."""

import numpy as np
from jaxtyping import Bool

from ablation.findings.asking import SEED, Answers, Questions, asked_model, expected_bits, fills, optimum, source_of
from ablation.results import Metric
from ablation.yardsticks import Items, Measured, Yardstick
from data.sources import Source
from data.sources.markov import Markov
from evaluation.batched import Watch
from evaluation.task import Entry

STRINGS = 48
"""That are asked about at each rate."""


def name(rate: float) -> str:
    """What the metric of a rate is called."""
    return f"lost at rate {rate:g}"


def lost_at_rates(rates: tuple[float, ...]) -> Yardstick:
    """Bits a hidden symbol that predictions at once cost more than the chain rule, at each rate."""
    told = "Bits a hidden symbol costs more when all {:.0%} are predicted at once than from left to right."
    metrics = {rate: Metric(name(rate), "bits/hidden symbol", "less", told.format(rate)) for rate in rates}

    def measure(entry: Entry, watch: Watch) -> Measured:
        source = source_of(entry.checkpoint.experiment, Markov)
        answers = asked_model(entry, source).answers(watch)
        return {metric.name: lost(source, rate, answers) for rate, metric in metrics.items()}

    return Yardstick(tuple(metrics.values()), measure, f"lost at {rates} of {STRINGS}", fills("markov"))


def lost(source: Source, rate: float, answers: Answers) -> Items:
    """What answers lose at a rate, a string an item; of the source's own, the total correlation of what is hidden."""
    strings = source.sample(STRINGS, SEED)
    hidden = hidden_places(source.length, rate)
    row, place = np.nonzero(hidden)
    earlier = np.arange(source.length) < place[:, None]
    at_once = Questions(strings[row], ~hidden[row], place)
    in_turn = Questions(strings[row], ~hidden[row] | earlier, place)
    beyond = expected_bits(source, at_once, answers) - expected_bits(source, in_turn, answers)
    return Items(np.bincount(row, beyond, STRINGS), hidden.sum(axis=1).astype(np.float64))


def total_correlation(source: Source, rate: float) -> float:
    """What the optimum loses at a rate, in bits a hidden symbol."""
    return lost(source, rate, optimum(source)).value


def hidden_places(length: int, rate: float) -> Bool[np.ndarray, "strings n"]:
    """Which places of each string are hidden: round(rate n) of n, and all sets of so many are equally likely."""
    rng = np.random.default_rng([SEED, round(1000 * rate)])
    return rng.random((STRINGS, length)).argsort(axis=1) < max(1, round(rate * length))
