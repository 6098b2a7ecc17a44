"""Forward passes that ask a model for the probability of tokens, compiled once a shape.

Two questions are all that scorers ask: every token of a block, each given those before it in one order (`chain`); and
one token, given any others (`single`). Which of them a model can answer, and how, is what its objective `reads`: the
same trunk is read as it was trained.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from batch import VOID, InputError, Inputs, Memory, Vocab
from evaluation.blocks import emittable
from models import Model, ModelConfig
from objectives import Objective

Judged = tuple[Float[Array, "B P"], Float[Array, "B P"]]
"""Log-probabilities over the ids that text can hold, and the probability of the others before renormalization."""

Judge = Callable[[Float[Array, "B P V"], Int[Array, "B P"], Vocab], Any]
"""What is kept of the logits of a pass, beside the labels: arrays, or tuples of arrays, that begin with "B P"."""

NEAR, FAR = 1 << 19, 1 << 24
"""Logits that are there at once: as many as stay in a core's cache, where reading them again is nearly free; or as
many as keep an accelerator busy."""

IN_CHAIN, BEHIND_MASK = ("right", "left", "query"), ("mask", "before")
ALONE = (*BEHIND_MASK, "query")
"""By which READINGS of objectives a chain can be asked, and by which a token alone."""


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """What is evaluated: a model, its parameters, what it was trained to do, and its vocabulary.

    A model that was trained in several ways is asked each question by the first of them that can answer it.
    Raises InputError for an objective that no question can be put to.
    """

    config: ModelConfig
    model: Model
    params: Any
    objective: Objective
    vocab: Vocab

    def __post_init__(self):
        if self.in_chain is None and self.alone is None:
            raise InputError(
                f"objective={type(self.objective).__name__}: no scorer knows how it predicts, for its `reads` names "
                f"none of {', '.join((*IN_CHAIN, *ALONE))}."
            )
        if self.alone in BEHIND_MASK and self.vocab.mask is None:
            raise InputError("vocab.mask=None: a masked model is asked behind [MASK], which this vocabulary lacks.")

    @property
    def in_chain(self) -> str | None:
        """How it is read where one pass gives every token, each given those before it in one order."""
        return next((way for way in self.objective.reads if way in IN_CHAIN), None)

    @property
    def in_any_chain(self) -> str | None:
        """How it is read where one pass does so in any order."""
        return "query" if "query" in self.objective.reads else None

    @property
    def alone(self) -> str | None:
        """How it is read where a pass gives one token, given any others."""
        return next((way for way in self.objective.reads if way in ALONE), None)

    @property
    def one_pass(self) -> bool:
        """Whether one pass gives every conditional of the order that it reads in."""
        return self.in_chain is not None

    @property
    def any_order(self) -> bool:
        """Whether any token can be asked for given any others, and hence the tokens in any order."""
        return self.alone is not None

    @property
    def backward(self) -> bool:
        """Whether its one pass reads from right to left."""
        return self.in_chain == "left"

    @property
    def chain(self) -> Callable[..., tuple[Judged, Memory | None]]:
        """The jitted pass over rows in one order: see `_chain`."""
        return self.chain_judged(judge)

    @property
    def single(self) -> Callable[..., tuple[Float[Array, " B"], Float[Array, " B"]]]:
        """The jitted pass over rows of which one token is asked: see `_single`."""
        return self.single_judged(judge)

    def chain_judged(self, by: Judge, reads: str | None = None) -> Callable[..., tuple[Any, Memory | None]]:
        """The same pass as `chain`, of which something else is kept, or which `reads` in another way."""
        reads = reads or self.in_chain
        assert reads is not None, "has no chain in one pass"
        return _chain(self.model, self.vocab, reads, by)

    def single_judged(self, by: Judge) -> Callable[..., Any]:
        """The same pass as `single`, of which something else is kept."""
        assert self.alone is not None, "sees one side"
        return _single(self.model, self.vocab, self.alone, by)


@functools.cache
def _chain(model: Model, vocab: Vocab, reads: str, by: Judge) -> Callable[..., tuple[Any, Memory | None]]:
    """A function of parameters, memory, `fresh`, tokens, real and ranks: what it gives x_1 ... x_(L-1), and the memory.

    The content stream that `reads` "right" or "left" predicts its neighbor, whatever the ranks. The "query" stream
    sees what has a lower rank. The memory keeps all but the last token, which is the first of the block that goes on.
    """
    graphdef, forget = nnx.graphdef(model), getattr(model, "forget", None)

    def chain(
        params: Any,
        memory: Memory | None,
        fresh: Bool[Array, " B"],
        tokens: Int[Array, "B L"],
        real: Bool[Array, "B L"],
        ranks: Int[Array, "B L"],
    ) -> tuple[Any, Memory | None]:
        memory = memory if memory is None or forget is None else forget(memory, fresh)
        shown, after = tokens, jnp.arange(1, tokens.shape[1])
        index = jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)
        if reads == "right":
            order, predict = index, after - 1
        elif reads == "left":
            shown, order, predict = start_last(tokens, real), -index, after
        else:
            order, predict = ranks, after
        inputs = inputs_of(shown, real, order, jnp.broadcast_to(predict, tokens[:, 1:].shape), blind=reads == "query")
        bound = nnx.merge(graphdef, params)
        output = bound(inputs, memory)
        return _judged(bound, output.hidden, tokens[:, 1:], vocab, by), output.memory

    return jax.jit(chain)


@functools.cache
def _single(model: Model, vocab: Vocab, reads: str, by: Judge) -> Callable[..., Any]:
    """A function of parameters, tokens, shown, hidden and target: what it gives the token at `target` of each row.

    It sees the tokens that are `shown`, and that there are tokens where they are `hidden`; nothing else. A query stream
    needs no [MASK]: it sees nothing of what is hidden. Where the prediction is read from the place "before", there
    stands a [MASK] if its token is neither shown nor hidden.
    """
    graphdef, mask, blind = nnx.graphdef(model), vocab.mask, reads == "query"
    assert blind or mask is not None, "refused with the subject"

    def single(
        params: Any,
        tokens: Int[Array, "B L"],
        shown: Bool[Array, "B L"],
        hidden: Bool[Array, "B L"],
        target: Int[Array, " B"],
    ) -> Any:
        predict = target[:, None] - (1 if reads == "before" else 0)
        text = tokens if mask is None or blind else jnp.where(shown, tokens, mask)
        order = hidden.astype(jnp.int32) if blind else jnp.zeros_like(tokens)
        seen = shown | hidden | (jnp.arange(tokens.shape[1])[None] == predict)
        inputs = inputs_of(text, seen, order, predict, blind=blind)
        bound = nnx.merge(graphdef, params)
        judged = _judged(bound, bound(inputs).hidden, jnp.take_along_axis(tokens, target[:, None], axis=1), vocab, by)
        return jax.tree.map(lambda found: found[:, 0], judged)

    return jax.jit(single)


def _judged(model: Model, hidden: Float[Array, "B P D"], labels: Int[Array, "B P"], vocab: Vocab, by: Judge) -> Any:
    """What is kept of the logits, which are there for a few rows at a time."""
    rows, predictions = labels.shape
    most = max(1, (NEAR if jax.default_backend() == "cpu" else FAR) // (predictions * vocab.size))
    few = next(count for count in range(min(most, rows), 0, -1) if rows % count == 0)
    if few == rows:
        return by(model.logits(hidden), labels, vocab)
    parts = (hidden.reshape(-1, few, *hidden.shape[1:]), labels.reshape(-1, few, predictions))
    kept = jax.lax.map(lambda part: by(model.logits(part[0]), part[1], vocab), parts)
    return jax.tree.map(lambda found: found.reshape(rows, *found.shape[2:]), kept)


def judge(logits: Float[Array, "B P V"], labels: Int[Array, "B P"], vocab: Vocab) -> Judged:
    """What the logits give the labels."""
    possible = emittable(vocab)
    within = jax.nn.logsumexp(_possible(logits, vocab), axis=-1)
    beyond = jax.nn.logsumexp(logits[:, :, np.flatnonzero(~possible)], axis=-1)
    log_p = jnp.take_along_axis(logits, labels[:, :, None], axis=2)[:, :, 0] - within
    return log_p, jax.nn.sigmoid(beyond - within)


def distribution(logits: Float[Array, "B P V"], labels: Int[Array, "B P"], vocab: Vocab) -> Float[Array, "B P V"]:
    """All log-probabilities over the ids that text can hold; -inf for the others."""
    return jax.nn.log_softmax(_possible(logits, vocab))


def _possible(logits: Float[Array, "B P V"], vocab: Vocab) -> Float[Array, "B P V"]:
    """The logits of the ids that text can hold; -inf for the others."""
    excluded = jnp.asarray(np.where(emittable(vocab), 0, -np.inf), logits.dtype)
    return logits + excluded[None, None]  # added: a CPU selects four times as slowly


def start_last(tokens: Int[Array, "B L"], real: Bool[Array, "B L"]) -> Int[Array, "B L"]:
    """The rows with their first token behind their last: where one begins that reads from right to left."""
    last = real.sum(axis=1)[:, None] - 1
    index = jnp.arange(tokens.shape[1])[None]
    source = jnp.where(index < last, index + 1, jnp.where(index == last, 0, index))
    return jnp.take_along_axis(tokens, source, axis=1)


def inputs_of(
    tokens: Int[Array, "B L"],
    seen: Bool[Array, "B L"],
    order: Int[Array, "B L"],
    predict: Int[Array, "B P"],
    *,
    blind: bool,
) -> Inputs:
    """One document a row, one segment, nothing visible but what may be `seen`."""
    rows, length = tokens.shape
    return Inputs(
        tokens=tokens,
        segments=jnp.zeros_like(tokens),
        document=seen.astype(jnp.int32),
        position=jnp.broadcast_to(jnp.arange(length)[None], tokens.shape),
        order=jnp.where(seen, order, VOID),
        predict=predict,
        blind=jnp.full(rows, blind),
        summary=jnp.zeros(rows, jnp.int32),
        query_stream=blind,
        reuse=length - 1,
    )
