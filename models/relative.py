"""Attention by distance and by segment (Dai et al. 2019, section 3.3; Yang et al. 2019, sections 2.4 and 2.5)."""

import jax.numpy as jnp
import numpy as np
from flax import nnx, struct
from jaxtyping import Array, Bool, Float, Int, Key

from models.attention import attend
from models.factored import Factored, frequencies, waves
from models.layers import Linear, over_rms
from models.parameters import Initializer, parameter
from models.precision import Precision, contract
from models.shift import by_key


def sinusoids(farthest: int, nearest: int, dim: int, clamp: int = 0) -> Float[Array, "R D"]:
    """[sin(d w), cos(d w)], w_m = 10000^(-2m/D), for the distances farthest, farthest - 1, ..., nearest; float32.

    `clamp` > 0 treats all distances beyond it alike.
    """
    distance = np.arange(farthest, nearest - 1, -1)
    distance = np.clip(distance, -clamp, clamp) if clamp else distance
    return jnp.asarray(waves(distance, frequencies(dim)), jnp.float32)


@struct.dataclass(kw_only=True)
class Shifted:
    """How far keys are from queries, looked up in a table of distances."""

    table: Float[Array, "*rows R D"]  # sinusoids of the distances S, ..., -L + 1; of each row, if they differ
    predict: Int[Array, "B P"]  # where the query rows stand
    direction: Int[Array, " B"] | None  # -1: the row is reversed text, so that distances change sign
    num_keys: int = struct.field(pytree_node=False)

    def scores(self, query: Float[Array, "B T H K"], distance: Linear) -> Float[Array, "B H T S"]:
        """(q_i + v) . r_(i-j), for every query and key."""
        num_keys, length = self.num_keys, self.table.shape[-2] - self.num_keys
        by_row = self.projected(distance)
        spec = "bthk,rhk->bhtr" if by_row.ndim == 3 else "bthk,brhk->bhtr"
        scores = contract(spec, query, by_row, distance.precision)
        return by_key(scores, self.predict, length, num_keys)

    def projected(self, distance: Linear) -> Float[Array, "R H K"] | Float[Array, "B R H K"]:
        """The vectors r of all distances; of each row, where rows differ in direction or in what was dropped."""
        if self.direction is None:
            return distance(self.table)
        sine, cosine = jnp.split(self.table, 2, axis=-1)
        if self.table.ndim == 3:
            return distance(jnp.concatenate([sine * self.direction[:, None, None], cosine], axis=-1))
        forward = distance(self.table)
        backward = distance(jnp.concatenate([-sine, cosine], axis=-1))  # sin(-x) = -sin(x)
        return jnp.where((self.direction > 0)[:, None, None, None], forward[None], backward[None])


class Biases(nnx.Module):
    """u, v and b, where all layers share them."""

    def __init__(self, heads: tuple[int, int], initializer: Initializer, *, segments: bool):
        self.content_bias = parameter(heads, initializer)
        self.distance_bias = parameter(heads, initializer)
        self.segment_bias = parameter(heads, initializer) if segments else None


@struct.dataclass(kw_only=True)
class View:
    """What the T queries of every layer need to know: the L content rows, then the P query rows, if there are any."""

    mask: Bool[Array, "B 1 T S"]
    differs: Bool[Array, "B T S"]  # the key lies in another segment; the memory is segment 0
    distance: Shifted | Factored
    biases: Biases | None  # None: each layer has its own


class RelativeAttention(nnx.Module):
    """Multi-head attention that scores content, distance and segment.

    A_ij = ((q_i + u) . k_j + (q_i + v) . r_(i-j) + (q_i + b) . s_ij) / sqrt(K)

    Here r is a projected sinusoid of the distance and s one of two vectors, for the same and for another segment.
    The biases u, v, b are called r_w_bias, r_r_bias and r_s_bias in the release.

    With `qk_epsilon`, queries q and keys k are divided by their root mean square before the biases are added, so that
    u, v and b weigh the same beside every query. The biases, r and s do not depend on what is read and stay as they
    are: r is linear in the sinusoids.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        dropout_rate: float,
        *,
        initializer: Initializer,
        precision: Precision,
        segments: bool = True,
        tied_biases: bool = False,
        qk_epsilon: float | None = None,
    ):
        heads, init = (num_heads, dim // num_heads), initializer
        self.query = Linear((dim,), heads, init, bias=False, precision=precision)
        self.key = Linear((dim,), heads, init, bias=False, precision=precision)
        self.value = Linear((dim,), heads, init, bias=False, precision=precision)
        self.distance = Linear((dim,), heads, init, bias=False, precision=precision)
        self.out = Linear(heads, (dim,), init, bias=False, precision=precision)
        self.content_bias = None if tied_biases else parameter(heads, init)
        self.distance_bias = None if tied_biases else parameter(heads, init)
        self.segment_bias = parameter(heads, init) if segments and not tied_biases else None
        self.segment = parameter((2, *heads), init) if segments else None  # 0: the same segment, 1: another
        self.qk_epsilon = qk_epsilon
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
        if self.qk_epsilon is not None:
            query, keys = over_rms(query, self.qk_epsilon), over_rms(keys, self.qk_epsilon)
        own = self if view.biases is None else view.biases
        assert own.content_bias is not None and own.distance_bias is not None
        content = contract("bthk,bshk->bhts", query + own.content_bias[...][None, None], keys, self.precision)
        by_distance = view.distance.scores(query + own.distance_bias[...][None, None], self.distance)
        scores = content + by_distance
        if self.segment is not None and own.segment_bias is not None:
            scores = scores + self.by_segment(query + own.segment_bias[...][None, None], self.segment[...], view)
        scores = scores / query.shape[-1] ** 0.5
        mixed, weights = attend(scores, view.mask, value, rate=self.dropout_rate, key=key, precision=self.precision)
        return self.out(mixed), weights

    def by_segment(
        self, query: Float[Array, "B T H K"], segment: Float[Array, "2 H K"], view: View
    ) -> Float[Array, "B H T S"]:
        """(q_i + b) . s_ij, for every query and key."""
        scores = contract("bthk,ehk->bhte", query, segment, self.precision)
        return jnp.where(view.differs[:, None], scores[..., 1:], scores[..., :1])
