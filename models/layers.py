"""The parts every model is made of: projections, norms, embeddings, the feed-forward block, dropout."""

import string
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from models.noise import kept
from models.parameters import ONES, ZEROS, Initializer, parameter
from models.precision import Precision, contract
from models.trunk import TrunkConfig

ACTIVATIONS: dict[str, Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]] = {
    "gelu": lambda x: 0.5 * x * (1.0 + jax.lax.erf(x / 2**0.5)),  # as in BERT's release; faster here than by erfc
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),  # GPT-2 and XLNet
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}


class Linear(nnx.Module):
    """`x W + b` from the trailing axes `inputs` to the axes `outputs`, for instance `(D,) -> (H, K)`."""

    update: Callable[..., Float[Array, "..."]] | None = None  # of a model that is fine-tuned, what is added to it

    def __init__(
        self,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        initializer: Initializer,
        *,
        bias: bool,
        precision: Precision,
    ):
        self.kernel = parameter((*inputs, *outputs), initializer)
        self.bias = parameter(outputs, ZEROS) if bias else None
        self.contracted = len(inputs)
        self.precision: Precision = precision

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        kernel = self.kernel[...]
        letters = string.ascii_lowercase
        rows, letters = letters[: x.ndim - self.contracted], letters[x.ndim - self.contracted :]
        summed, out = letters[: self.contracted], letters[self.contracted : kernel.ndim]
        y = contract(f"{rows}{summed},{summed}{out}->{rows}{out}", x, kernel, self.precision)
        y = y if self.bias is None else y + jnp.expand_dims(self.bias[...], range(len(rows)))
        return y if self.update is None else y + self.update(x)


class LayerNorm(nnx.Module):
    """Normalizes the last axis to mean 0 and (biased) variance 1, then scales and shifts it (Ba et al. 2016)."""

    def __init__(self, dim: int, epsilon: float):
        self.scale = parameter((dim,), ONES)
        self.bias = parameter((dim,), ZEROS)
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "*rows D"]) -> Float[Array, "*rows D"]:
        centered = x - x.mean(axis=-1, keepdims=True)
        variance = jnp.square(centered).mean(axis=-1, keepdims=True)
        shape = (1,) * (x.ndim - 1) + (-1,)
        normal = centered * jax.lax.rsqrt(variance + self.epsilon)
        return normal * self.scale[...].reshape(shape) + self.bias[...].reshape(shape)


class RmsNorm(nnx.Module):
    """Normalizes the last axis to root mean square 1, then scales it (Zhang and Sennrich 2019)."""

    def __init__(self, dim: int, epsilon: float):
        self.scale = parameter((dim,), ONES)
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "*rows D"]) -> Float[Array, "*rows D"]:
        return over_rms(x, self.epsilon) * self.scale[...].reshape((1,) * (x.ndim - 1) + (-1,))


def over_rms(x: Float[Array, "*rows D"], epsilon: float) -> Float[Array, "*rows D"]:
    """`x` over the root mean square of its last axis."""
    return x * jax.lax.rsqrt(jnp.square(x).mean(axis=-1, keepdims=True) + epsilon)


Norm = LayerNorm | RmsNorm


def make_norm(config: TrunkConfig) -> Norm:
    """A norm of the model's width."""
    return {"layer": LayerNorm, "rms": RmsNorm}[config.norm](config.model_dim, config.epsilon)


class Embedding(nnx.Module):
    """A table of vectors; `attend` scores vectors against every row, which ties a head to the table."""

    def __init__(self, size: int, dim: int, initializer: Initializer, *, precision: Precision):
        self.table = parameter((size, dim), initializer)
        self.precision: Precision = precision

    def __call__(self, ids: Int[Array, "*rows"]) -> Float[Array, "*rows D"]:
        return self.table[...][ids]

    def attend(self, hidden: Float[Array, "B P D"]) -> Float[Array, "B P V"]:
        return contract("bpd,vd->bpv", hidden, self.table[...], self.precision)


class FeedForward(nnx.Module):
    """`down act(up x)`, or gated `down (act(gate x) * up x)` (Shazeer 2020), each with a bias.

    XLNet also drops inside.
    """

    def __init__(
        self,
        config: TrunkConfig,
        *,
        up: Initializer,
        down: Initializer,
        precision: Precision,
        inner_dropout: float = 0.0,
    ):
        dim, inner = (config.model_dim,), (config.mlp_dim,)
        self.up = Linear(dim, inner, up, bias=True, precision=precision)
        self.gate = Linear(dim, inner, up, bias=True, precision=precision) if config.gated else None
        self.down = Linear(inner, dim, down, bias=True, precision=precision)
        self.activation = config.activation
        self.inner_dropout = inner_dropout

    def __call__(self, x: Float[Array, "B T D"], *, key: Key[Array, ""] | None = None) -> Float[Array, "B T D"]:
        act, inner = ACTIVATIONS[self.activation], self.up(x)
        inner = act(inner) if self.gate is None else act(self.gate(x)) * inner
        return self.down(dropout(inner, self.inner_dropout, key))


def dropout(x: Float[Array, "*shape"], rate: float, key: Key[Array, ""] | None) -> Float[Array, "*shape"]:
    """Zeroes each entry with probability `rate` and scales the rest to keep the mean; without a key, `x`."""
    if key is None or rate == 0:
        return x
    return jnp.where(kept(key, rate, x.shape), x / (1 - rate), 0.0)


def split_key(key: Key[Array, ""] | None, count: int) -> tuple[Key[Array, ""] | None, ...]:
    """`count` keys, or as many times None: a key means training, None means inference."""
    return (None,) * count if key is None else tuple(jax.random.split(key, count))


def gather(x: Float[Array, "B L D"], positions: Int[Array, "B P"]) -> Float[Array, "B P D"]:
    """The rows of `x` at `positions`."""
    return jnp.take_along_axis(x, positions[:, :, None], axis=1)


def select(where: Bool[Array, " B"], yes: Shaped[Array, "B ..."], no: Shaped[Array, "B ..."]) -> Shaped[Array, "B ..."]:
    """Chooses between two arrays, row of the batch by row of the batch."""
    return jnp.where(where.reshape(-1, *(1,) * (yes.ndim - 1)), yes, no)
