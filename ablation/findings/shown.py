"""What a masked model says of a symbol that it is shown: the gap between pretraining and use (Devlin et al. 2019, C.2).

A model that has only predicted behind [MASK] owes nothing to the places of symbols that are there. Where it is used,
all of them are.
"""

import numpy as np

from ablation.findings.asking import SEED, Answers, Questions, asked_model, bits, reads_from, source_of
from ablation.results import Metric
from ablation.yardsticks import Items, Measured, Yardstick
from data.sources import Source
from data.sources.markov import Markov
from evaluation.batched import Watch
from evaluation.task import Entry
from training.config import Experiment

STRINGS = 64
PLACES = 8
"""Of a string that are asked for, evenly spread."""

OWN = Metric(
    "shown symbol",
    "bits/symbol",
    "less",
    "What a symbol costs at its own place, where it is shown, no [MASK] being anywhere: 0 for who looks at it.",
)


def shown_symbols() -> Yardstick:
    """The loss of symbols that are there, of models that predict at their place."""

    def measure(entry: Entry, watch: Watch) -> Measured:
        source = source_of(entry.checkpoint.experiment, Markov)
        return {OWN.name: own_bits(source, asked_model(entry, source).answers(watch))}

    return Yardstick((OWN,), measure, f"shown symbols of {STRINGS} x {PLACES}", _asks)


def own_bits(source: Source, answers: Answers) -> Items:
    """The loss of some symbols of each string, all of which is shown."""
    strings = source.sample(STRINGS, SEED)
    place = np.tile(np.linspace(0, source.length - 1, PLACES).round().astype(np.int64), STRINGS)
    row = np.repeat(np.arange(STRINGS), PLACES)
    cost = bits(Questions(strings[row], np.ones((len(row), source.length), bool), place), answers)
    return Items(np.bincount(row, cost, STRINGS), np.full(STRINGS, float(PLACES)))


def _asks(experiment: Experiment) -> bool:
    return reads_from("markov")(experiment) and "mask" in experiment.objective.reads
