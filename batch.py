"""The contract: the only nouns that objectives, models and data share.

The data says *which tokens*; the objective says *what is shown and what is predicted*; the model says *what it sees*.
Dimension letters are those of docs/shapes.md.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

Anywhere = Array | np.ndarray
"""An array on the device or on the host: batches are made with NumPy and read inside the jitted step."""

VOID = int(np.iinfo(np.int32).max)
"""The order of padding: it is greater than every other order, and `visible` hides it from everybody."""


class InputError(ValueError):
    """Something the user gave cannot be used. The message is one sentence: the field, its value, the remedy.

    Entry points print it and exit with 1; every other exception is a defect of ours and keeps its traceback.
    """


@dataclasses.dataclass(frozen=True)
class Vocab:
    """What a model and an objective need to know of a tokenizer; hashable, so that it can be static.

    `special` lists the ids that are never hidden, never predicted and never drawn as a random replacement (padding,
    [CLS], [SEP], [MASK], unused ids). End-of-document is an ordinary token.
    """

    size: int
    special: tuple[int, ...]
    pad: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    end: int | None = None

    def __post_init__(self):
        named = [i for i in (self.pad, self.cls, self.sep, self.mask, self.end) if i is not None]
        wrong = [i for i in (*self.special, *named) if not 0 <= i < self.size]
        if wrong:
            raise InputError(
                f"vocab: token id {wrong[0]} is not below the vocabulary size {self.size}; rebuild the tokenizer."
            )

    @functools.cached_property
    def is_special(self) -> np.ndarray:
        """A boolean table over ids: `is_special[tokens]`."""
        table = np.zeros(self.size, bool)
        table[list(self.special)] = True
        return table

    @functools.cached_property
    def ordinary(self) -> np.ndarray:
        """The ids that a random replacement may be drawn from."""
        return np.flatnonzero(~self.is_special).astype(np.int32)


@struct.dataclass(kw_only=True)
class Task:
    """What the data knows of a row beyond its tokens; only what its task asks for is there."""

    label: Int[Anywhere, " B"] | None = None  # a class, -1 where it is not known; of sentence pairs: 0 = next, in order
    value: Float[Anywhere, " B"] | None = None  # a number, NaN where it is not known
    tags: Int[Anywhere, "B L"] | None = None  # a class where each word is read, -1 elsewhere
    places: Int[Anywhere, "B P"] | None = None  # where in the row stands what can be chosen; -1 at unused slots
    span: Int[Anywhere, "B 2"] | None = None  # the slots of `places` that begin and end the answer, -1 if not known
    features: Float[Anywhere, "B P _ D"] | None = None  # what a frozen trunk says there, of each layer that is read


@struct.dataclass(kw_only=True)
class Batch:
    """What the data says. Host side it holds NumPy arrays; inside the step, JAX arrays."""

    tokens: Int[Anywhere, "B L"]
    segments: Int[Anywhere, "B L"]  # 0 = A, 1 = B, 2 = XLNet's [CLS]
    document: Int[Anywhere, "B L"]  # 0 = padding; equal numbers belong together, and may see each other
    word: Int[Anywhere, "B L"]  # which word a token belongs to; -1 for specials and padding
    example: Int[Anywhere, " B"]  # identity of the row's text: with `epoch`, the seed of its corruption
    epoch: Int[Anywhere, " B"]
    fresh: Bool[Anywhere, " B"]  # the row does not continue row b of the previous batch: memory is forgotten
    summary: Int[Anywhere, " B"]  # the index that a pooled representation reads
    direction: Int[Anywhere, " B"] | None = None  # +1 as written, -1 the row is reversed text; None: all as written
    task: Task | None = None
    step: Int[Anywhere, " B"] | None = None  # training steps before this one, the same in all rows; None: held-out text


@struct.dataclass(kw_only=True)
class Inputs:
    """What the objective shows, and who may see whom.

    Content stream: position i sees j iff order[j] <= order[i] and document[j] == document[i].
    Query stream: i sees j iff order[j] < order[i], same document.
    """

    tokens: Int[Array, "B L"]
    segments: Int[Array, "B L"]
    document: Int[Array, "B L"]
    position: Int[Array, "B L"]  # index within the document, as far as the window shows it
    order: Int[Array, "B L"]  # VOID at padding
    predict: Int[Array, "B P"]  # positions to predict, any value where the target's weight is 0
    blind: Bool[Array, " B"]  # predict from the query stream, which cannot see its own token
    summary: Int[Array, " B"]
    direction: Int[Array, " B"] | None = None
    features: Float[Array, "B P _ D"] | None = None  # of `Task`: the trunk need not be run
    query_stream: bool = struct.field(pytree_node=False, default=False)  # some row is blind
    reuse: int | None = struct.field(pytree_node=False, default=None)  # positions that enter the memory; None: all


@struct.dataclass(kw_only=True)
class Targets:
    labels: Int[Array, "B P"]
    weights: Float[Array, "B P"]  # 0 at unused slots
    task: Task | None = None
    task_weights: Float[Array, " B"] | None = None


@struct.dataclass(kw_only=True)
class Memory:
    """What each layer read in the earlier windows of the same row (Dai et al. 2019, section 3.2)."""

    hidden: Float[Array, "N B M D"]  # layer inputs; no gradient flows into them
    valid: Bool[Array, "B M"]  # slots that may be attended
    document: Int[Array, "B M"]  # 0 = an empty slot, which belongs to no document

    @property
    def length(self) -> int:
        return self.hidden.shape[2]


@struct.dataclass(kw_only=True)
class Output:
    hidden: Float[Array, "B P D"]  # at the predicted positions: the query stream's where the row is blind
    pooled: Float[Array, "B D"] | None = None
    memory: Memory | None = None
    scores: Float[Array, "B P C"] | None = None  # of a task's classes, or its one number, at the predicted positions
    layers: Float[Array, "N1 B L D"] | None = None  # embeddings, then each layer's content output
    attention: Float[Array, "N B H L S"] | None = None  # content stream
    query_attention: Float[Array, "N B H P S"] | None = None


class Mean(NamedTuple):
    """A sum and its weight: every loss and metric, until the moment it is printed."""

    total: Float[Array, ""]
    weight: Float[Array, ""]

    def __add__(self, other: "Mean") -> "Mean":  # type: ignore[override]
        return Mean(self.total + other.total, self.weight + other.weight)

    def value(self) -> float:
        """The mean; NaN where nothing was counted."""
        return float(self.total) / float(self.weight) if float(self.weight) else float("nan")


def weighted_mean(values: Float[Array, "*shape"], weights: Float[Array, "*shape"]) -> Mean:
    """Sum and weight of `values`; slots of weight 0 are selected out, so that NaN there does no harm."""
    return Mean(jnp.where(weights > 0, values * weights, 0.0).sum(), weights.sum())
