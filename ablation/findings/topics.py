"""Whether sentence pairs can be decided by their words alone (Liu et al. 2019; Lan et al. 2020, section 3.1).

Text of another document is about something else: what two segments have in common says whether B continues A. Swapped
segments have in common what they had.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float32, Float64, Int

from ablation.results import Metric
from ablation.yardsticks import Items, Measured, Yardstick
from batch import Batch, Vocab
from data.batches import Stream, open_stream
from data.shards import Tokens
from evaluation.batched import Watch
from evaluation.logistic import axes_of, fit, right
from evaluation.passes import Subject
from evaluation.task import Entry
from models import Model
from objectives import Objective
from training.config import Experiment
from training.keys import held_out_key

PAIRS = 8192
"""Of the training text, as the run's own seed pairs it, that words are weighed by."""

PENALTY = 0.1
"""On the squares of the weights."""

TOLD = {"next": "next sentence", "order": "sentence order"}
"""By data.pair_task: two tasks have other pairs, and metrics of their own."""


def of_model(task: str) -> Metric:
    """How often the model decides rightly."""
    meaning = "How often the model decides held-out sentence pairs rightly, with tokens hidden as in training."
    return Metric(f"{TOLD[task]} by the model", "accuracy", "more", meaning)


def of_words(task: str) -> Metric:
    """How often bags of tokens do."""
    meaning = (
        f"How often a logistic regression does, which has seen {PAIRS} pairs of the training text as bags of tokens: "
        "those in both segments, and those in the first or the second alone. It asks the arm's data, not its model."
    )
    return Metric(f"{TOLD[task]} by its words", "accuracy", "more", meaning)


class Pairs(NamedTuple):
    """Which tokens are in each of the two segments, and the label of `Task`."""

    first: Bool[np.ndarray, "I V"]
    second: Bool[np.ndarray, "I V"]
    label: Int[np.ndarray, " I"]

    @property
    def features(self) -> Float32[np.ndarray, "I V2"]:
        """What is in both; and what is in one alone, 1 for the first and -1 for the second, which knows their order."""
        apart = self.first.astype(np.float32) - self.second
        return np.concatenate([(self.first & self.second).astype(np.float32), apart], axis=1)


def decided_pairs(task: str) -> Yardstick:
    """How often the sentence pairs of a task are decided rightly: by the model, and as bags of tokens."""
    model, words = of_model(task), of_words(task)

    def measure(entry: Entry, watch: Watch) -> Measured:
        experiment, subject, text = entry.checkpoint.experiment, entry.checkpoint.subject, entry.text
        assert text.train is not None, "a suite trains on its text"
        held_out = opened(experiment, text.tokens, subject.vocab, held_out=True)
        batches = [held_out.batch(step) for step in range(held_out.steps_per_epoch)]
        train = opened(experiment, text.train, subject.vocab, held_out=False)
        seen = map(train.batch, range(-(-PAIRS // experiment.data.batch_size)))
        found = {
            model.name: by_model(subject, batches),
            words.name: by_words(bags(seen, subject.vocab), bags(batches, subject.vocab)),
        }
        return {name: Items(outcome, np.ones(len(outcome))) for name, outcome in found.items()}

    return Yardstick((model, words), measure, f"pairs: {task} {PAIRS} {PENALTY}", lambda own: decides_pairs(own, task))


def decides_pairs(experiment: Experiment, task: str) -> bool:
    """Whether a model of this experiment has learned to decide the pairs of a task."""
    return experiment.objective.pair_weight > 0 and experiment.data.pair_task == task


def opened(experiment: Experiment, tokens: Tokens, vocab: Vocab, *, held_out: bool) -> Stream:
    """The pairs that a run reads of a text."""
    stride, seed = experiment.objective.reuse, experiment.seed
    return open_stream(experiment.data, tokens, vocab, seed=seed, stride=stride, held_out=held_out)


def bags(batches: Iterable[Batch], vocab: Vocab) -> Pairs:
    """The pairs of these batches as sets of tokens, specials left out."""
    parts: list[Pairs] = []
    for batch in batches:
        assert batch.task is not None, "asked of pairs alone"
        real, tokens = np.asarray(batch.document).any(axis=1), np.asarray(batch.tokens)
        present = np.zeros((2, len(tokens), vocab.size), bool)
        row, column = np.nonzero(np.asarray(batch.word) >= 0)
        present[np.asarray(batch.segments)[row, column], row, tokens[row, column]] = True
        parts.append(Pairs(present[0, real], present[1, real], np.asarray(batch.task.label)[real]))
    return Pairs(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def by_words(seen: Pairs, asked: Pairs) -> Float64[np.ndarray, " I"]:
    """1 where a logistic regression on the bags that were `seen` decides a pair rightly, else 0."""
    axes = axes_of(seen.features)
    weights = fit(axes, axes.rows(seen.features), seen.label, 2, PENALTY)
    return right(weights, axes.rows(asked.features), asked.label)


def by_model(subject: Subject, batches: Iterable[Batch]) -> Float64[np.ndarray, " I"]:
    """1 where the model decides a pair rightly, else 0."""
    decide, found = _decision(subject.model, subject.objective, subject.vocab), []
    for batch in batches:
        assert batch.task is not None, "asked of pairs alone"
        right = np.asarray(decide(subject.params, batch)) == batch.task.label
        found.append(right[np.asarray(batch.document).any(axis=1)])
    return np.concatenate(found).astype(np.float64)


@functools.cache
def _decision(model: Model, objective: Objective, vocab: Vocab) -> Callable[[Any, Batch], Int[Array, " B"]]:
    """The jitted decision about each row of a batch, corrupted as held-out text is."""
    graphdef = nnx.graphdef(model)

    def decide(params: Any, batch: Batch) -> Int[Array, " B"]:
        inputs, _ = objective.prepare(batch, vocab, held_out_key())
        bound: Any = nnx.merge(graphdef, params)
        return bound.pair_logits(bound(inputs).pooled).argmax(axis=-1)

    return jax.jit(decide)
