"""Who may see whom: the only place where attention masks are made.

One integer `order` per token says it for every objective (Yang et al. 2019, section 2.2, is the general case):
the content stream's i sees j iff order[j] <= order[i], the query stream's iff order[j] < order[i]. Left to right is
0, 1, 2, ...; both sides at once is all zeros; a factorization order is its ranks.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from batch import VOID, Inputs, Memory


def every_row(inputs: Inputs) -> Int[Array, "B L"]:
    """The positions of a content stream's queries: all of them, in order."""
    return jnp.broadcast_to(jnp.arange(inputs.tokens.shape[1])[None], inputs.tokens.shape)


def visible(
    inputs: Inputs,
    rows: Int[Array, "B T"],
    memory: Memory | None,
    *,
    strict: Bool[Array, "*ranks"],
    reach: int | None = None,
) -> Bool[Array, "B 1 T S"]:
    """What the queries standing at positions `rows` may attend: the memory's slots, then the window's tokens.

    `strict`, broadcast against `rows`, marks the queries of the query stream, which do not see their own token. Tokens
    see their own document only; an empty memory slot belongs to no document and, if valid, is seen by all.

    `reach` hides what lies more than so many positions before a query, so that with a memory as long every query of a
    left-to-right order looks equally far back (`same_length` in Dai et al.'s release). What lies after a query is a
    matter of order alone, whatever the reach.
    """
    order, document = inputs.order[:, None, :], inputs.document[:, None, :]
    own_order = jnp.take_along_axis(inputs.order, rows, axis=1)[:, :, None]
    own_document = jnp.take_along_axis(inputs.document, rows, axis=1)[:, :, None]
    earlier = jnp.where(jnp.broadcast_to(strict, rows.shape)[:, :, None], order < own_order, order <= own_order)
    seen = earlier & (order != VOID) & (document == own_document)
    if memory is not None:
        told = memory.document[:, None, :]
        past = memory.valid[:, None, :] & ((told == own_document) | (told == 0))
        seen = jnp.concatenate([past, seen], axis=2)
    if reach is not None:
        places = jnp.arange(inputs.tokens.shape[1] - seen.shape[2], inputs.tokens.shape[1])
        seen &= rows[:, :, None] - places[None, None] <= reach
    return seen[:, None]
