"""Where a token stands, for the models that know it absolutely: a learned table, sines and cosines, or rotations.

Relative positions are not a switch but XLNet's trunk (`models.relative`), which serves the causal and the masked
objective as well.
"""

import dataclasses
import math
from typing import Literal

import jax.numpy as jnp
from flax import nnx, struct
from jaxtyping import Array, Float, Int

from batch import InputError
from models.parameters import Initializer, parameter
from models.trunk import TrunkConfig


@dataclasses.dataclass(frozen=True)
class AbsoluteConfig(TrunkConfig):
    """The fields of a model that knows where each token stands."""

    positions: Literal["learned", "sinusoidal", "rotary"] = "learned"
    max_length: int = 512  # rows of the learned table; without one there is no longest window

    @property
    def longest_window(self) -> int | None:
        """How many positions there are to stand at; None: any number."""
        return self.max_length if self.positions == "learned" else None

    def __post_init__(self):
        super().__post_init__()
        width = self.model_dim // self.num_heads
        if self.positions == "rotary" and width % 2:
            raise InputError(
                f"model.positions=rotary: turns pairs of a head's numbers, of which model.model_dim={self.model_dim} "
                f"with model.num_heads={self.num_heads} gives {width}; make that even."
            )


@struct.dataclass(kw_only=True)
class Rotation:
    """Cosines and sines of the angles by which rotary positions turn the pairs of a head's numbers."""

    cosine: Float[Array, "B L half"]
    sine: Float[Array, "B L half"]


class AbsolutePositions(nnx.Module):
    """Added to the embeddings (a learned table, or sines and then cosines), or told to the attention of every layer.

    Sinusoids do not learn, and at initial scale the tokens would be lost among them: the embeddings are multiplied by
    sqrt(D) first (Vaswani et al. 2017, sections 3.4 and 3.5).
    """

    def __init__(self, config: AbsoluteConfig, initializer: Initializer):
        learned = config.positions == "learned"
        self.table = parameter((config.max_length, config.model_dim), initializer) if learned else None
        self.kind = config.positions
        self.head_dim = config.model_dim // config.num_heads

    def __call__(self, x: Float[Array, "B L D"], position: Int[Array, "B L"]) -> Float[Array, "B L D"]:
        """The embeddings `x` of tokens that stand at `position`, with what is added to them."""
        if self.table is not None:
            return x + self.table[...][position]
        if self.kind == "sinusoidal":
            angle = angles(position, x.shape[-1])
            return x * math.sqrt(x.shape[-1]) + jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
        return x

    def rotation(self, position: Int[Array, "B L"]) -> Rotation | None:
        """What turns queries and keys; None where positions are added."""
        if self.kind != "rotary":
            return None
        angle = angles(position, self.head_dim)
        return Rotation(cosine=jnp.cos(angle), sine=jnp.sin(angle))


def angles(position: Int[Array, "B L"], dim: int) -> Float[Array, "B L half"]:
    """`position * w_m`, w_m = 10000^(-2m/dim), for each of the dim / 2 frequencies; float32."""
    frequencies = 10_000.0 ** (-jnp.arange(0, dim, 2, dtype=jnp.float32) / dim)
    return position[:, :, None].astype(jnp.float32) * frequencies[None, None]


def rotate(x: Float[Array, "B L H K"], rotation: Rotation) -> Float[Array, "B L H K"]:
    """`x` with each pair (x_m, x_(m + K/2)) turned by its angle (Su et al. 2021, section 3.2.2, halves paired).

    The product of a query and a key so turned depends on the difference of their positions only.
    """
    first, second = jnp.split(x, 2, axis=-1)
    cosine, sine = rotation.cosine[:, :, None], rotation.sine[:, :, None]
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
