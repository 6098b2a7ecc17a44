"""Segment-level recurrence (Dai et al. 2019, section 3.2): what each layer read in earlier windows."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from batch import VOID, Inputs, Memory
from models.layers import select


def empty_memory(num_layers: int, batch_size: int, length: int, dim: int, *, attended: bool) -> Memory:
    """Zeros that are attended to, as in XLNet's release, or that nobody sees.

    Zeros that are seen are not the same as no memory: they take their share of every softmax.
    """
    return Memory(
        hidden=jnp.zeros((num_layers, batch_size, length, dim), jnp.float32),
        valid=jnp.full((batch_size, length), attended),
        document=jnp.zeros((batch_size, length), jnp.int32),
    )


def forget(memory: Memory, fresh: Bool[Array, " B"], *, attended: bool) -> Memory:
    """The memory with the rows that start afresh emptied."""
    empty = empty_memory(memory.hidden.shape[0], *memory.hidden.shape[1:], attended=attended)
    hidden = jnp.where(fresh[None, :, None, None], empty.hidden, memory.hidden)
    return Memory(
        hidden=hidden,
        valid=select(fresh, empty.valid, memory.valid),
        document=select(fresh, empty.document, memory.document),
    )


def remember(past: Float[Array, "B M D"], present: Float[Array, "B L D"], reuse: int | None) -> Float[Array, "B M D"]:
    """The last M of the past followed by the first `reuse` positions of the present; no gradient flows back."""
    kept = jnp.concatenate([past, present[:, :reuse]], axis=1)
    return jax.lax.stop_gradient(kept[:, kept.shape[1] - past.shape[1] :])


def remembered(memory: Memory, hidden: Float[Array, "N B M D"], inputs: Inputs) -> Memory:
    """The memory for the next window: `hidden`, and which of its slots hold a token of which document."""
    length, reuse = memory.length, inputs.reuse
    valid = jnp.concatenate([memory.valid, (inputs.order != VOID)[:, :reuse]], axis=1)
    document = jnp.concatenate([memory.document, inputs.document[:, :reuse]], axis=1)
    start = valid.shape[1] - length
    return Memory(hidden=hidden, valid=valid[:, start:], document=document[:, start:])
