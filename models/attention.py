"""Attention: scores in, a weighted mean of values out, for every model."""

import jax
import jax.numpy as jnp
from flax import nnx, struct
from jaxtyping import Array, Bool, Float, Key

from batch import Inputs
from models.layers import Linear, dropout, over_rms
from models.parameters import Initializer
from models.positions import AbsolutePositions, Rotation, rotate
from models.precision import Precision, contract
from models.trunk import TrunkConfig
from models.visibility import every_row, visible


def attend(
    scores: Float[Array, "B H T S"],
    mask: Bool[Array, "B 1 T S"],
    value: Float[Array, "B S H K"],
    *,
    rate: float,
    key: Key[Array, ""] | None,
    precision: Precision,
) -> tuple[Float[Array, "B T H K"], Float[Array, "B H T S"]]:
    """The mean of the visible values under softmax(scores), and the weights (before dropout)."""
    weights = softmax(scores, mask)
    return contract("bhts,bshk->bthk", dropout(weights, rate, key), value, precision), weights


@jax.custom_jvp
def softmax(scores: Float[Array, "B H T S"], mask: Bool[Array, "B 1 T S"]) -> Float[Array, "B H T S"]:
    """Softmax over what each query sees.

    A query that sees nothing gets zeros. The originals add -1e30 to what is hidden, which makes such a query attend
    to everything that it must not see.
    """
    weights = jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min), axis=-1)
    return jnp.where(mask, weights, 0.0)


@softmax.defjvp
def _(primals, tangents):
    """Dw = w (ds - sum(w ds)): what is hidden has w = 0, so the mask need not be known again."""
    weights = softmax(*primals)
    moved = weights * tangents[0]
    return weights, moved - weights * moved.sum(axis=-1, keepdims=True)


@struct.dataclass(kw_only=True)
class SelfView:
    """What the rows of every layer need to know."""

    mask: Bool[Array, "B 1 L L"]
    rotation: Rotation | None = None  # of queries and keys, where positions are rotary


def self_view(inputs: Inputs, positions: AbsolutePositions) -> SelfView:
    """Who sees whom, and from where."""
    rows = every_row(inputs)
    mask = visible(inputs, rows, None, strict=jnp.zeros_like(rows, bool))
    return SelfView(mask=mask, rotation=positions.rotation(inputs.position))


class SelfAttention(nnx.Module):
    """Multi-head scaled dot-product attention (Vaswani et al. 2017, section 3.2), without its output's dropout.

    `qk_norm` divides each head's queries and keys by their root mean square, without parameters. Henry et al. (2020)
    divide by the length and learn a factor for the scores; Dehghani et al. (2023) use LayerNorm and learn its scales.
    Without either, no switch adds a parameter for another to undo, and rotations commute with it.
    """

    def __init__(self, config: TrunkConfig, *, project: Initializer, out: Initializer, precision: Precision):
        c, dim = config, (config.model_dim,)
        heads = (c.num_heads, c.model_dim // c.num_heads)
        self.query = Linear(dim, heads, project, bias=True, precision=precision)
        self.key = Linear(dim, heads, project, bias=True, precision=precision)
        self.value = Linear(dim, heads, project, bias=True, precision=precision)
        self.out = Linear(heads, dim, out, bias=True, precision=precision)
        self.epsilon = c.epsilon if c.qk_norm else None
        self.dropout_rate = c.attention_dropout_rate
        self.precision: Precision = precision

    def __call__(
        self, x: Float[Array, "B L D"], view: SelfView, *, key: Key[Array, ""] | None = None
    ) -> tuple[Float[Array, "B L D"], Float[Array, "B H L L"]]:
        query, keys, value = self.query(x), self.key(x), self.value(x)
        if self.epsilon is not None:
            query, keys = over_rms(query, self.epsilon), over_rms(keys, self.epsilon)
        if view.rotation is not None:
            query, keys = rotate(query, view.rotation), rotate(keys, view.rotation)
        scores = contract("bthk,bshk->bhts", query, keys, self.precision) / query.shape[-1] ** 0.5
        mixed, weights = attend(scores, view.mask, value, rate=self.dropout_rate, key=key, precision=self.precision)
        return self.out(mixed), weights
