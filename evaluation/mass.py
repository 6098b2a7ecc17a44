"""Training mass: how often an objective asks for a token of which so many others are visible."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float64, Int

from batch import Batch, Inputs, Targets, Vocab
from evaluation.blocks import Blocks
from models.visibility import visible
from objectives import CausalLm, MaskedLm, Objective

EPOCHS = 8
"""How often the targets of each block are drawn."""


def training_mass(objective: Objective, vocab: Vocab, blocks: Blocks) -> Float64[np.ndarray, " n"]:
    """The share of an objective's targets that have c = 0, 1, ..., n - 1 visible tokens, in rows like these blocks.

    Counted from what `prepare` shows and asks, as `visible` reads it. Visible are the tokens that stand there as they
    are; the targets of a masked model do not count, though one in ten is shown. The start does not count either, and is
    no target. Raises InputError where the objective cannot be asked in rows of this length.
    """
    size, prepare = blocks.length - 1, _preparer(objective, vocab)
    counts = np.zeros(size + 1, np.int64)
    for epoch in range(EPOCHS):
        inputs, targets = prepare(_batch(blocks, epoch), jax.random.key(0))
        seen, asked = map(np.asarray, _visible_tokens(objective, inputs, targets))
        counts += np.bincount(seen[asked], minlength=size + 1)
    return counts[:size] / counts.sum()


@functools.cache
def _preparer(objective: Objective, vocab: Vocab) -> Callable[..., tuple[Inputs, Targets]]:
    return jax.jit(lambda batch, key: objective.prepare(batch, vocab, key))


def _visible_tokens(
    objective: Objective, inputs: Inputs, targets: Targets
) -> tuple[Int[Array, "B P"], Bool[Array, "B P"]]:
    """How many tokens of the text each prediction sees, and which predictions are asked for one of them."""
    place = inputs.predict
    if isinstance(objective, CausalLm):  # it stands at the neighbor of what it predicts
        place = place + (1 if objective.direction == "forward" else -1)
    seen = visible(inputs, inputs.predict, None, strict=inputs.blind[:, None])[:, 0]
    if isinstance(objective, MaskedLm):
        row = jnp.arange(len(place))[:, None]
        hidden = jnp.zeros(inputs.tokens.shape, bool).at[row, place].max(targets.weights > 0)
        seen &= ~hidden[:, None]
    return seen[:, :, 1:].sum(axis=-1), (targets.weights > 0) & (place > 0)


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
