"""The objectives that choose a place of a row: one of several endings, or where an answer starts and ends.

What can be chosen is a list of places (`batch.Task.places`). Scores are those of its slots, and a softmax goes over
them: what stands at no place, such as a token of the question, is not compared at all.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from batch import Batch, InputError, Inputs, Output, Targets, Task, Vocab, weighted_mean
from objectives.base import Losses, Metrics, Scales, scale
from objectives.tasks import Visibility, asked, class_loss, is_real, seen

NEVER = -1e30
"""The score of an unused slot; finite, so that a row of them is harmless."""


class Beams(NamedTuple):
    """The A best starts, for each the A best ends, with their log probabilities; and the logit of no answer."""

    start: Int[Array, "B A"]
    start_score: Float[Array, "B A"]
    end: Int[Array, "B A A"]
    end_score: Float[Array, "B A A"]
    null: Float[Array, " B"]


@dataclasses.dataclass(frozen=True)
class MultipleChoice:
    """One of several ways to go on, each read at its own summary: -log p in nats under a softmax over their scores."""

    visibility: Visibility = "both"

    query_stream = False
    reuse = None
    pair_weight = 0.0
    reads = ()

    def prepare(self, batch: Batch, vocab: Vocab, key: Key[Array, ""]) -> tuple[Inputs, Targets]:
        del vocab, key  # nothing is hidden, nothing is random
        task = told(batch)
        label = jnp.asarray(task.label)[:, None]
        targets = asked(label, is_real(batch) & (label >= 0))
        return at_places(batch, self.visibility), dataclasses.replace(targets, task=Task(places=task.places))

    def scales(self, targets: Targets) -> Scales:
        return {"loss": scale(1.0, targets.weights)}

    def loss(self, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
        return class_loss(dataclasses.replace(output, scores=self.read(model, output, targets)), targets)

    def read(self, model: Any, output: Output, targets: Targets) -> Float[Array, "B 1 P"]:
        """The scores of the choices."""
        del model
        return by_slot(output.scores, targets)


@dataclasses.dataclass(frozen=True)
class Extraction:
    """The first and the last token of an answer: half of -log p of each, in nats.

    With `given_start` the end depends on the start: on the right one in training, on the best ones in a prediction
    (Yang et al. 2019). Where questions may have no answer, its slot is the first, and such a head also learns, by
    half of its surprise in nats, whether there is one; its own model head (`models.pointer`) is needed.
    """

    visibility: Visibility = "both"
    ends: Literal["alone", "given_start"] = "alone"
    beams: int = 5  # starts that a prediction follows, and ends of each

    query_stream = False
    reuse = None
    pair_weight = 0.0
    reads = ()

    def __post_init__(self):
        if self.beams < 1:
            raise InputError(f"objective.beams={self.beams}: must be at least 1.")

    def prepare(self, batch: Batch, vocab: Vocab, key: Key[Array, ""]) -> tuple[Inputs, Targets]:
        del vocab, key
        task, real = told(batch), is_real(batch)
        span = jnp.asarray(task.span)
        targets = asked(span, real & (span >= 0))
        if self.ends == "alone" or task.label is None:
            return at_places(batch, self.visibility), dataclasses.replace(targets, task=Task(places=task.places))
        label = jnp.asarray(task.label)
        known = (real[:, 0] & (label >= 0)).astype(jnp.float32)
        own = Task(places=task.places, label=label)
        return at_places(batch, self.visibility), dataclasses.replace(targets, task=own, task_weights=known)

    def scales(self, targets: Targets) -> Scales:
        scales = {"loss": scale(1.0, targets.weights)}
        return scales if targets.task_weights is None else {**scales, "null_loss": scale(0.5, targets.task_weights)}

    def loss(self, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
        scores = by_slot(output.scores, targets)
        if self.ends == "given_start":
            ends = masked(model.task.ends(output.hidden, targets.labels[:, :1]), targets)
            scores = jnp.concatenate([scores, ends], axis=1)
        losses, metrics = class_loss(dataclasses.replace(output, scores=scores), targets)
        if targets.task_weights is not None and targets.task is not None:
            logit, label = null_logit(model, output, targets), jnp.asarray(targets.task.label)
            surprise = optax.sigmoid_binary_cross_entropy(logit, label.astype(jnp.float32))
            losses["null_loss"] = weighted_mean(surprise, targets.task_weights)
        return losses, metrics

    def read(self, model: Any, output: Output, targets: Targets) -> Float[Array, "B 2 P"] | Beams:
        """The scores of starts and of ends, or beams."""
        scores = by_slot(output.scores, targets)
        if self.ends == "alone":
            return scores
        width = min(self.beams, scores.shape[2])
        start_score, start = jax.lax.top_k(jax.nn.log_softmax(scores[:, 0]), width)
        ends = masked(model.task.ends(output.hidden, start), targets)
        end_score, end = jax.lax.top_k(jax.nn.log_softmax(ends), width)
        asked_null = targets.task_weights is not None
        null = null_logit(model, output, targets) if asked_null else jnp.zeros(len(start))
        return Beams(start, start_score, end, end_score, null)


def told(batch: Batch) -> Task:
    """What the data of the task says."""
    assert batch.task is not None and batch.task.places is not None, "the data of a task says what can be chosen"
    return batch.task


def at_places(batch: Batch, visibility: Visibility) -> Inputs:
    """The batch as it is, with scores at what can be chosen; an unused slot reads the first token."""
    return seen(batch, visibility, jnp.maximum(jnp.asarray(told(batch).places), 0))


def masked(scores: Float[Array, "B C P"], targets: Targets) -> Float[Array, "B C P"]:
    """The scores, with `NEVER` at unused slots."""
    assert targets.task is not None, "the objective says what can be chosen"
    return jnp.where((jnp.asarray(targets.task.places) >= 0)[:, None], scores, NEVER)


def by_slot(scores: Float[Array, "B P C"] | None, targets: Targets) -> Float[Array, "B C P"]:
    """The scores of the slots, for each thing that is chosen."""
    assert scores is not None, "checked when the run was built"
    return masked(jnp.moveaxis(scores, 2, 1), targets)


def null_logit(model: Any, output: Output, targets: Targets) -> Float[Array, " B"]:
    """What the head says for no answer."""
    starts = jax.nn.softmax(by_slot(output.scores, targets)[:, 0])
    return model.task.null_logit(output.hidden, starts)
