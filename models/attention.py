"""Attention: scores in, a weighted mean of values out, for every model."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from models.layers import Linear, dropout
from models.parameters import Initializer
from models.precision import Precision, contract


def attend(
    scores: Float[Array, "B H T S"],
    mask: Bool[Array, "B 1 T S"],
    value: Float[Array, "B S H K"],
    *,
    rate: float,
    key: Key[Array, ""] | None,
    precision: Precision,
) -> tuple[Float[Array, "B T H K"], Float[Array, "B H T S"]]:
    """The mean of the visible values under softmax(scores), and the weights (before dropout).

    A query that sees nothing gets zeros. The originals add -1e30 to what is hidden, which makes such a query attend
    to everything that it must not see.
    """
    weights = jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min), axis=-1)
    weights = jnp.where(mask, weights, 0.0)
    return contract("bhts,bshk->bthk", dropout(weights, rate, key), value, precision), weights


class SelfAttention(nnx.Module):
    """Multi-head scaled dot-product attention (Vaswani et al. 2017, section 3.2), without its output's dropout."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        dropout_rate: float,
        *,
        project: Initializer,
        out: Initializer,
        precision: Precision,
    ):
        heads = (num_heads, dim // num_heads)
        self.query = Linear((dim,), heads, project, bias=True, precision=precision)
        self.key = Linear((dim,), heads, project, bias=True, precision=precision)
        self.value = Linear((dim,), heads, project, bias=True, precision=precision)
        self.out = Linear(heads, (dim,), out, bias=True, precision=precision)
        self.dropout_rate = dropout_rate
        self.precision: Precision = precision

    def __call__(
        self, x: Float[Array, "B L D"], mask: Bool[Array, "B 1 L L"], *, key: Key[Array, ""] | None = None
    ) -> tuple[Float[Array, "B L D"], Float[Array, "B H L L"]]:
        query, keys, value = self.query(x), self.key(x), self.value(x)
        scores = contract("bthk,bshk->bhts", query, keys, self.precision) / query.shape[-1] ** 0.5
        mixed, weights = attend(scores, mask, value, rate=self.dropout_rate, key=key, precision=self.precision)
        return self.out(mixed), weights
