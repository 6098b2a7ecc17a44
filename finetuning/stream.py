"""Batches of a task, by length: rows of a batch are about as long, and are padded to one of a few lengths."""

import dataclasses
import functools
from typing import Literal

import jax
import numpy as np
from jaxtyping import Bool, Int

from batch import Batch, Task
from data.task import TaskData
from finetuning.encoding import Encoded


@dataclasses.dataclass(frozen=True, eq=False)
class TaskStream:
    """Every epoch reads every example once, in an order of its seed and its number.

    A permutation is cut into pools of `config.pool` batches; within a pool examples are sorted by length and cut into
    batches, whose order is drawn again over all pools. Where examples do not fill the last batch of an epoch's last
    pool, it has empty rows, whose `document` is 0.
    """

    config: TaskData
    examples: Encoded
    pad_side: Literal["left", "right"]
    pad: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.examples) // self.config.batch_size)

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """The rows `rows` of the batch of a step."""
        epoch, index = divmod(step, self.steps_per_epoch)
        return padded(self.config, self.examples, self.order(epoch)[index], epoch, self.pad_side, self.pad, rows)

    def order(self, epoch: int) -> tuple[Int[np.ndarray, " _"], ...]:
        """The examples of each batch of an epoch."""
        return _order(self, epoch)


@functools.lru_cache(maxsize=8)
def _order(stream: TaskStream, epoch: int) -> tuple[Int[np.ndarray, " _"], ...]:
    rng = np.random.default_rng([stream.seed, epoch])
    lengths, size = stream.examples.lengths, stream.config.batch_size
    drawn, pool = rng.permutation(len(lengths)), size * stream.config.pool
    batches = []
    for first in range(0, len(drawn), pool):
        own = drawn[first : first + pool]
        own = own[np.argsort(lengths[own], kind="stable")]
        batches += [own[i : i + size] for i in range(0, len(own), size)]
    return tuple(batches[i] for i in rng.permutation(len(batches)))


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOutExamples:
    """Every example once, from the shortest to the longest, independent of any seed; the last batch has empty rows."""

    config: TaskData
    examples: Encoded
    pad_side: Literal["left", "right"]
    pad: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.examples) // self.config.batch_size)

    @functools.cached_property
    def order(self) -> Int[np.ndarray, " n"]:
        """The examples as they are read."""
        return reading_order(self.examples)

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """The rows `rows` of the batch of a step."""
        return padded(self.config, self.examples, self.chosen(step), 0, self.pad_side, self.pad, rows)

    def chosen(self, step: int) -> Int[np.ndarray, " _"]:
        """The examples of the batch of a step, one a row."""
        index, size = step % self.steps_per_epoch, self.config.batch_size
        return self.order[index * size : (index + 1) * size]


def reading_order(examples: Encoded) -> Int[np.ndarray, " n"]:
    """From the shortest example to the longest."""
    return np.argsort(examples.lengths, kind="stable")


def padded(
    config: TaskData,
    examples: Encoded,
    chosen: Int[np.ndarray, " _"],
    epoch: int,
    side: Literal["left", "right"],
    pad: int,
    rows: slice = slice(None),
) -> Batch:
    """The chosen examples as a batch of `config.batch_size` rows, as long as the least bucket that holds them all."""
    longest = max(len(examples.rows[i].tokens) for i in chosen)
    length = next(bucket for bucket in config.buckets if bucket >= longest)
    size = config.batch_size
    tokens = np.full((size, length), pad, np.int32)
    segments, document = np.zeros_like(tokens), np.zeros_like(tokens)
    word, tags, places = (np.full((size, width), -1, np.int32) for width in (length, length, config.choices or length))
    summary, example = np.zeros(size, np.int32), np.zeros(size, np.int32)
    for b, i in enumerate(chosen):
        row = examples.rows[i]
        begin = length - len(row.tokens) if side == "left" else 0
        place = slice(begin, begin + len(row.tokens))
        tokens[b, place], segments[b, place], document[b, place] = row.tokens, row.segments, row.document
        word[b, place] = row.source
        summary[b], example[b] = begin + row.summary, i
        if examples.tags is not None:
            tags[b, place] = examples.tags[i]
        if examples.places is not None:
            own = examples.places[i]
            places[b, : len(own)] = np.where(own < 0, -1, begin + own)
    fill = size - len(chosen)
    told = Task(
        label=None if examples.label is None else np.pad(examples.label[chosen], (0, fill), constant_values=-1),
        value=None if examples.value is None else np.pad(examples.value[chosen], (0, fill), constant_values=np.nan),
        tags=None if examples.tags is None else tags,
        places=None if examples.places is None else places,
        span=None if examples.span is None else np.pad(examples.span[chosen], ((0, fill), (0, 0)), constant_values=-1),
    )
    batch = Batch(
        tokens=tokens,
        segments=segments,
        document=document,
        word=word,
        example=example,
        epoch=np.full(size, epoch, np.int32),
        fresh=np.ones(size, bool),
        summary=summary,
        task=told,
    )
    batch = with_features(batch, examples, chosen)
    return batch if rows == slice(None) else jax.tree.map(lambda array: array[rows], batch)


def with_features(batch: Batch, examples: Encoded, chosen: Int[np.ndarray, " _"]) -> Batch:
    """The batch with the features of its examples, if there are any, and zeros at slots that nobody reads."""
    if examples.features is None:
        return batch
    assert batch.task is not None, "of a task"
    used = slots(batch)
    features = np.zeros((*used.shape, *examples.features[0].shape[1:]), np.float32)
    for b, i in enumerate(chosen):
        features[b, used[b]] = examples.features[i]
    return dataclasses.replace(batch, task=dataclasses.replace(batch.task, features=features))


def slots(batch: Batch) -> Bool[np.ndarray, "B _"]:
    """Which of the slots at which a model is read belong to an example: as many of one however it is padded."""
    assert batch.task is not None, "of a task"
    real = np.asarray(batch.document) != 0
    if batch.task.tags is not None:
        return real
    return real.any(axis=1, keepdims=True) if batch.task.places is None else np.asarray(batch.task.places) >= 0
