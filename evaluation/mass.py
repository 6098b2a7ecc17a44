"""Training mass: how often an objective asks for a token of which so many others are visible."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int

from batch import Batch, Inputs, Targets, Vocab
from evaluation.blocks import Blocks
from models.visibility import visible
from objectives import Mixture, Objective, Staged, places

EPOCHS = 8
"""How often the targets of each block are drawn."""


def training_mass(objective: Objective, vocab: Vocab, blocks: Blocks) -> Float64[np.ndarray, " n"]:
    """The share of an objective's targets that have c = 0, 1, ..., n - 1 visible tokens, in rows like these blocks.

    Counted from what `prepare` shows and asks, as `visible` reads it, each target by its weight. Visible are the tokens
    that stand there as they are; the targets of a masked model do not count, though one in ten is shown. The start does
    not count either, and is no target. A mixture has the targets of its parts, by their shares of the rows; stages have
    those of the last. Raises InputError where the objective cannot be asked in rows of this length.
    """
    mass = _mass(objective, vocab, blocks)
    return mass / mass.sum()


def _mass(objective: Objective, vocab: Vocab, blocks: Blocks) -> Float64[np.ndarray, " n"]:
    """The weight of the targets that have c visible tokens."""
    if isinstance(objective, Staged):
        return _mass(objective.parts[-1], vocab, blocks)
    if isinstance(objective, Mixture):
        parts = zip(objective.fractions, objective.parts, strict=True)
        return sum((share * _mass(part, vocab, blocks) for share, part in parts), np.zeros(blocks.length - 1))
    size, prepare = blocks.length - 1, _preparer(objective, vocab)
    mass = np.zeros(size + 1)
    for epoch in range(EPOCHS):
        inputs, targets = prepare(_batch(blocks, epoch), jax.random.key(0))
        seen, weights = map(np.asarray, _visible_tokens(objective, inputs, targets))
        mass += np.bincount(seen.reshape(-1), weights.reshape(-1), size + 1)
    return mass[:size]


@functools.cache
def _preparer(objective: Objective, vocab: Vocab) -> Callable[..., tuple[Inputs, Targets]]:
    return jax.jit(lambda batch, key: objective.prepare(batch, vocab, key))


def _visible_tokens(
    objective: Objective, inputs: Inputs, targets: Targets
) -> tuple[Int[Array, "B P"], Float[Array, "B P"]]:
    """How many tokens of the text each prediction sees, and its weight, 0 where it is asked for none of them.

    A target that the place it is read at sees is hidden by what stands there: it is visible to no prediction.
    """
    place, row = places(objective, inputs, targets), jnp.arange(len(inputs.predict))[:, None]
    seen = visible(inputs, inputs.predict, None, strict=inputs.blind[:, None])[:, 0]
    hidden = (targets.weights > 0) & jnp.take_along_axis(seen, place[:, :, None], axis=2, mode="clip")[:, :, 0]
    seen &= ~jnp.zeros(inputs.tokens.shape, bool).at[row, place].max(hidden)[:, None]
    return seen[:, :, 1:].sum(axis=-1), jnp.where(place > 0, targets.weights, 0.0)


def _batch(blocks: Blocks, epoch: int) -> Batch:
    """The blocks as an epoch of training reads them, a document a row."""
    rows = blocks.num_blocks
    return Batch(
        tokens=blocks.tokens,
        segments=np.zeros_like(blocks.tokens),
        document=blocks.real.astype(np.int32),
        word=blocks.word.astype(np.int32),
        example=np.arange(rows, dtype=np.int32),
        epoch=np.full(rows, epoch, np.int32),
        fresh=np.ones(rows, bool),
        summary=np.zeros(rows, np.int32),
    )
