"""From attention's scores by distance to scores by key: out[t, j] = x[t, L - t + j], for a query that stands at t."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def by_key(
    x: Float[Array, "B H T R"], predict: Int[Array, "B P"], length: int, num_keys: int
) -> Float[Array, "B H T S"]:
    """The scores of the queries 0, ..., L - 1 and, where there are more rows, of those at `predict`.

    On a CPU by slices: into the reshape and its transpose XLA fuses what comes before them, and then computes an index
    anew for each entry (docs/findings.md). Elsewhere by the reshape of the release, which was made for TPUs.
    """
    if jax.default_backend() == "cpu":
        rows = jnp.broadcast_to(jnp.arange(length)[None], (x.shape[0], length))
        return sliced(x, jnp.concatenate([rows, predict], axis=1)[:, : x.shape[2]], length, num_keys)
    shifted = relative_shift(x[:, :, :length], num_keys)
    if x.shape[2] == length:
        return shifted
    return jnp.concatenate([shifted, shift_to(x[:, :, length:], predict, length, num_keys)], axis=2)


def relative_shift(x: Float[Array, "B H L R"], num_keys: int) -> Float[Array, "B H L S"]:
    """Those of the queries 0, ..., L - 1, by a reshape that skews row i by i places (Dai et al. 2019, appendix B)."""
    batch, heads, length, distances = x.shape
    skewed = x.reshape(batch, heads, distances, length)[:, :, 1:]
    return skewed.reshape(batch, heads, length, distances - 1)[..., :num_keys]


def shift_to(
    x: Float[Array, "B H P R"], positions: Int[Array, "B P"], length: int, num_keys: int
) -> Float[Array, "B H P S"]:
    """The same for queries that stand at `positions`."""
    index = length - positions[:, :, None] + jnp.arange(num_keys)[None, None]
    return jnp.take_along_axis(x, index[:, None], axis=3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def sliced(
    x: Float[Array, "B H T R"], positions: Int[Array, "B T"], length: int, num_keys: int
) -> Float[Array, "B H T S"]:
    """The same, by one slice of each row; the transpose slices too."""
    return cut(x, length - positions, num_keys)


def _forward(x, positions, length, num_keys):
    return sliced(x, positions, length, num_keys), positions


def _backward(length, num_keys, positions, cotangent):
    """dx[t, r] = g[t, r - L + t], and zero where there is no such key: L zeros on each side stand for them."""
    padded = jnp.pad(cotangent, ((0, 0), (0, 0), (0, 0), (length, length)))
    return cut(padded, positions, num_keys + length), None


sliced.defvjp(_forward, _backward)


def cut(x: Float[Array, "B H T R"], start: Int[Array, "B T"], size: int) -> Float[Array, "B H T S"]:
    """`size` entries of every row, from the row's `start` on."""

    def of_row(row: Float[Array, " R"], start: Int[Array, ""]) -> Float[Array, " S"]:
        return jax.lax.dynamic_slice(row, (start,), (size,))

    of_head = jax.vmap(of_row)
    return jax.vmap(jax.vmap(of_head, in_axes=(0, None)))(x, start)
