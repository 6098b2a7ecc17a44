"""The objectives of tasks: nothing is hidden, and what is predicted are labels instead of tokens.

The model must have a task head, whose scores they read. A bidirectional model sees all of a row; "left" is GPT's own
order, and "both" takes its mask away, so that attention and pretraining can be told apart.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, Key

from batch import Batch, Inputs, Output, Targets, Task, Vocab, weighted_mean
from objectives.base import Losses, Metrics, Scales, scale, show

Visibility = Literal["both", "left"]


@dataclasses.dataclass(frozen=True)
class Classification:
    """One class a row, read at its summary: -log p in nats."""

    visibility: Visibility = "both"

    query_stream = False
    reuse = None
    pair_weight = 0.0
    reads = ()

    def prepare(self, batch: Batch, vocab: Vocab, key: Key[Array, ""]) -> tuple[Inputs, Targets]:
        del vocab, key  # nothing is hidden, nothing is random
        label = jnp.asarray(_task(batch).label)[:, None]
        known = is_real(batch) & (label >= 0)
        return at_summary(batch, self.visibility), asked(label, known)

    def scales(self, targets: Targets) -> Scales:
        return {"loss": scale(1.0, targets.weights)}

    def loss(self, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
        del model
        return class_loss(output, targets)


@dataclasses.dataclass(frozen=True)
class Regression:
    """One number a row, read at its summary: the squared error."""

    visibility: Visibility = "both"

    query_stream = False
    reuse = None
    pair_weight = 0.0
    reads = ()

    def prepare(self, batch: Batch, vocab: Vocab, key: Key[Array, ""]) -> tuple[Inputs, Targets]:
        del vocab, key
        value = jnp.asarray(_task(batch).value)
        known = is_real(batch) & jnp.isfinite(value)[:, None]
        targets = asked(jnp.zeros(known.shape, jnp.int32), known)
        told = Task(value=jnp.where(known[:, 0], value, 0.0))  # a NaN that is selected out has a gradient of NaN
        return at_summary(batch, self.visibility), dataclasses.replace(targets, task=told)

    def scales(self, targets: Targets) -> Scales:
        return {"loss": scale(1.0, targets.weights)}

    def loss(self, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
        del model
        assert output.scores is not None and targets.task is not None, "checked when the run was built"
        error = output.scores[:, :, 0] - jnp.asarray(targets.task.value)[:, None]
        metrics = {"absolute_error": weighted_mean(jnp.abs(error), targets.weights)}
        return {"loss": weighted_mean(jnp.square(error), targets.weights)}, metrics


@dataclasses.dataclass(frozen=True)
class Tagging:
    """One class a word, read at one of its pieces: -log p in nats."""

    visibility: Visibility = "both"

    query_stream = False
    reuse = None
    pair_weight = 0.0
    reads = ()

    def prepare(self, batch: Batch, vocab: Vocab, key: Key[Array, ""]) -> tuple[Inputs, Targets]:
        del vocab, key
        tags = jnp.asarray(_task(batch).tags)
        return seen(batch, self.visibility, places(batch)), asked(tags, is_real(batch) & (tags >= 0))

    def scales(self, targets: Targets) -> Scales:
        return {"loss": scale(1.0, targets.weights)}

    def loss(self, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
        del model
        return class_loss(output, targets)


def _task(batch: Batch) -> Task:
    assert batch.task is not None, "the data of a task says its labels"
    return batch.task


def is_real(batch: Batch) -> Bool[Array, "B 1"]:
    """Whether a row holds an example, and is not there to fill a batch."""
    return (jnp.asarray(batch.document) != 0).any(axis=1, keepdims=True)


def places(batch: Batch) -> Int[Array, "B L"]:
    """The index of each token in its row."""
    return jnp.broadcast_to(jnp.arange(batch.tokens.shape[1])[None], batch.tokens.shape)


def seen(batch: Batch, visibility: Visibility, predict: Int[Array, "B P"]) -> Inputs:
    """The batch as it is, seen from both sides or from the left, with scores at the places `predict`."""
    index = places(batch)
    inputs = show(batch, order=jnp.zeros_like(index) if visibility == "both" else index, predict=predict)
    features = None if batch.task is None else batch.task.features
    return inputs if features is None else dataclasses.replace(inputs, features=jnp.asarray(features))


def at_summary(batch: Batch, visibility: Visibility) -> Inputs:
    """The batch as it is, with scores at the summary of each row."""
    return seen(batch, visibility, jnp.asarray(batch.summary)[:, None])


def asked(labels: Int[Array, "B P"], known: Bool[Array, "B P"]) -> Targets:
    """The labels that are known, each of weight 1."""
    return Targets(labels=jnp.where(known, labels, 0), weights=known.astype(jnp.float32))


def reader(objective: Any) -> Callable[[Any, Output, Targets], Any]:
    """What a prediction is made of: what the objective reads in `read`, or else the model's scores."""
    return getattr(objective, "read", lambda model, output, targets: output.scores)


def class_loss(output: Output, targets: Targets) -> tuple[Losses, Metrics]:
    """-log p of the right classes in nats, and how many of them have the highest score."""
    assert output.scores is not None, "checked when the run was built"
    surprise = optax.softmax_cross_entropy_with_integer_labels(output.scores, targets.labels)
    right = (output.scores.argmax(axis=-1) == targets.labels).astype(jnp.float32)
    return (
        {"loss": weighted_mean(surprise, targets.weights)},
        {"accuracy": weighted_mean(right, targets.weights)},
    )
