"""Attention by distance and by segment (Dai et al. 2019, section 3.3; Yang et al. 2019, sections 2.4 and 2.5)."""

import jax.numpy as jnp
from flax import nnx, struct
from jaxtyping import Array, Bool, Float, Int, Key

from models.attention import attend
from models.layers import Linear
from models.parameters import Initializer, parameter
from models.precision import Precision, contract


@struct.dataclass(kw_only=True)
class View:
    """What the T queries of every layer need to know: the L content rows, then the P query rows, if there are any."""

    mask: Bool[Array, "B 1 T S"]
    differs: Bool[Array, "B T S"]  # the key lies in another segment; the memory is segment 0
    distances: Float[Array, "R D"]  # sinusoids of the distances S, ..., -L + 1
    predict: Int[Array, "B P"]  # where the query rows stand
    direction: Int[Array, " B"] | None = None  # -1: the row is reversed text, so that distances change sign


def sinusoids(farthest: int, nearest: int, dim: int, clamp: int = 0) -> Float[Array, "R D"]:
    """[sin(d w), cos(d w)], w_m = 10000^(-2m/D), for the distances farthest, farthest - 1, ..., nearest; float32.

    `clamp` > 0 treats all distances beyond it alike.
    """
    distance = jnp.arange(farthest, nearest - 1, -1, dtype=jnp.float32)
    distance = jnp.clip(distance, -clamp, clamp) if clamp else distance
    angle = distance[:, None] * (10_000.0 ** (-jnp.arange(0, dim, 2, dtype=jnp.float32) / dim))[None]
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


def relative_shift(x: Float[Array, "B H L R"], num_keys: int) -> Float[Array, "B H L S"]:
    """From scores by distance to scores by key, for the queries 0, ..., L - 1: out[i, j] = x[i, L - i + j].

    The reshape skews row i by i places without a gather (Dai et al. 2019, appendix B).
    """
    batch, heads, length, distances = x.shape
    skewed = x.reshape(batch, heads, distances, length)[:, :, 1:]
    return skewed.reshape(batch, heads, length, distances - 1)[..., :num_keys]


def shift_to(
    x: Float[Array, "B H P R"], positions: Int[Array, "B P"], length: int, num_keys: int
) -> Float[Array, "B H P S"]:
    """The same for queries that stand at `positions`: out[p, j] = x[p, L - positions[p] + j]."""
    index = length - positions[:, :, None] + jnp.arange(num_keys)[None, None]
    return jnp.take_along_axis(x, index[:, None], axis=3)


class RelativeAttention(nnx.Module):
    """Multi-head attention that scores content, distance and segment.

    A_ij = ((q_i + u) . k_j + (q_i + v) . r_(i-j) + (q_i + b) . s_ij) / sqrt(K)

    Here r is a projected sinusoid of the distance and s one of two vectors, for the same and for another segment.
    The biases u, v, b are called r_w_bias, r_r_bias and r_s_bias in the release.
    """

    def __init__(
        self, dim: int, num_heads: int, dropout_rate: float, *, initializer: Initializer, precision: Precision
    ):
        heads, init = (num_heads, dim // num_heads), initializer
        self.query = Linear((dim,), heads, init, bias=False, precision=precision)
        self.key = Linear((dim,), heads, init, bias=False, precision=precision)
        self.value = Linear((dim,), heads, init, bias=False, precision=precision)
        self.distance = Linear((dim,), heads, init, bias=False, precision=precision)
        self.out = Linear(heads, (dim,), init, bias=False, precision=precision)
        self.content_bias = parameter(heads, init)
        self.distance_bias = parameter(heads, init)
        self.segment_bias = parameter(heads, init)
        self.segment = parameter((2, *heads), init)  # 0: the same segment, 1: another
        self.dropout_rate = dropout_rate
        self.precision: Precision = precision

    def __call__(
        self,
        x: Float[Array, "B T D"],
        context: Float[Array, "B S D"],
        view: View,
        *,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B H T S"]]:
        """The queries `x` attend to `context`: memory, then the content stream."""
        query, keys, value = self.query(x), self.key(context), self.value(context)
        content = contract("bthk,bshk->bhts", query + self.content_bias[...][None, None], keys, self.precision)
        distance = self.by_distance(query + self.distance_bias[...][None, None], view, context.shape[1])
        segment = contract(
            "bthk,ehk->bhte", query + self.segment_bias[...][None, None], self.segment[...], self.precision
        )
        segment = jnp.where(view.differs[:, None], segment[..., 1:], segment[..., :1])
        scores = (content + distance + segment) / query.shape[-1] ** 0.5
        mixed, weights = attend(scores, view.mask, value, rate=self.dropout_rate, key=key, precision=self.precision)
        return self.out(mixed), weights

    def by_distance(self, query: Float[Array, "B T H K"], view: View, num_keys: int) -> Float[Array, "B H T S"]:
        """(q_i + v) . r_(i-j), for every query and key."""
        length = view.distances.shape[0] - num_keys
        forward = self.distance(view.distances)
        if view.direction is None:
            scores = contract("bthk,rhk->bhtr", query, forward, self.precision)
        else:
            sine, cosine = jnp.split(view.distances, 2, axis=-1)
            backward = self.distance(jnp.concatenate([-sine, cosine], axis=-1))  # sin(-x) = -sin(x)
            by_row = jnp.where((view.direction > 0)[:, None, None, None], forward[None], backward[None])
            scores = contract("bthk,brhk->bhtr", query, by_row, self.precision)
        shifted = relative_shift(scores[:, :, :length], num_keys)
        if scores.shape[2] == length:
            return shifted
        asked = shift_to(scores[:, :, length:], view.predict, length, num_keys)
        return jnp.concatenate([shifted, asked], axis=2)
