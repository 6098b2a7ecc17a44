"""Whose attribute is it: facts that were told in one direction, asked in the other (Kitouni et al. 2024)."""

import dataclasses

import numpy as np
from jaxtyping import Float64, Int64

from ablation.findings.asking import ROWS, SEED, Asked, asked_model, reads_from, source_of
from ablation.results import Metric
from ablation.yardsticks import Items, Measured, Yardstick, any_other
from data.sources.facts import PIECES, Facts
from evaluation.batched import Watch
from evaluation.bayes import joint
from evaluation.cloze import inside
from evaluation.task import Entry
from training.config import Experiment

GROUPS, ASKED = 6, 4
"""Groups of a string, and which of them tells the fact."""

_TOLD = "How often the name of an attribute is found among all names, of facts that were never told from it, {}."
OWN = Metric(
    "name, asked in its own way",
    "accuracy",
    "more",
    _TOLD.format("by who fills in by filling in, by a causal model by writing on"),
)
WRITTEN = Metric("name, written on", "accuracy", "more", _TOLD.format("written behind it"))
BAYES = Metric("name, by Bayes' rule", "accuracy", "more", _TOLD.format("by the sentence as it was told"))


def reversal() -> Yardstick:
    """Names of attributes, the way a model's objective asks: where they stood, or where they never did."""

    def measure(entry: Entry, watch: Watch) -> Measured:
        source, model = _opened(entry)
        written = found(source, model, told=False, watch=watch)
        own = found(source, model, told=True, watch=watch) if model.subject.any_order else written
        one = np.ones(len(own))
        return {OWN.name: Items(own, one), WRITTEN.name: Items(written, one)}

    return Yardstick((OWN, WRITTEN), measure, "reversal", reads_from("facts"))


def by_bayes() -> Yardstick:
    """The same of models that read one way, which weigh whole sentences as they were told."""

    def measure(entry: Entry, watch: Watch) -> Measured:
        source, model = _opened(entry)
        right = found(source, model, told=True, watch=watch)
        return {BAYES.name: Items(right, np.ones(len(right)))}

    return Yardstick((BAYES,), measure, "reversal by Bayes", _one_way)


def found(source: Facts, model: Asked, *, told: bool, watch: Watch) -> Float64[np.ndarray, " U"]:
    """Whether the name of each fact is held the likeliest: as the fact was `told`, or behind its attribute."""
    strings, place = sentences(source, told=told)
    blocks = model.blocks(strings)
    spans = np.broadcast_to(model.letters[source.names], (len(strings), source.facts, PIECES))
    score = inside if model.subject.any_order else joint
    rows, at = np.arange(len(strings)), np.full(len(strings), place + 1)
    scores = score(model.subject, blocks, rows, at, spans, ROWS, watch)
    return (scores.argmax(axis=1) == source.one_way).astype(np.float64)


def sentences(source: Facts, *, told: bool) -> tuple[Int64[np.ndarray, "U n"], int]:
    """For each fact that is told one way a text that tells it so, or the other way; and where its name begins.

    Behind the other way nothing follows: a name is written at the end.
    """
    facts, width = source.one_way, source.table.width
    strings = dataclasses.replace(source, groups=GROUPS).sample(len(facts), SEED)
    name, attribute = source.names[facts], source.attributes[facts]
    marker = np.full(len(facts), source.markers[0 if told else 1])
    first = width * ASKED
    strings[:, first : first + width] = np.column_stack([marker, *((name, attribute) if told else (attribute, name))])
    return (strings, first + 1) if told else (strings[:, : first + width], first + 1 + PIECES)


def _opened(entry: Entry) -> tuple[Facts, Asked]:
    source = source_of(entry.checkpoint.experiment, Facts)
    return source, asked_model(entry, source)


def _one_way(experiment: Experiment) -> bool:
    return reads_from("facts")(experiment) and not any_other(experiment)
