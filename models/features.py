"""What the head of a task reads, if not the last layer of the trunk: others, side by side, or a learned mean of all."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from models.layers import gather
from models.parameters import ONES, ZEROS, parameter
from models.precision import contract


class SideBySide(nnx.Module):
    """Some layers, their features one after the other (Devlin et al. 2019, section 5.3); 0 is the embeddings."""

    def __init__(self, dim: int, chosen: tuple[int, ...]):
        self.chosen = chosen
        self.width = dim * len(chosen)

    def __call__(self, layers: Float[Array, "N1 B P D"]) -> Float[Array, "B P _"]:
        return jnp.concatenate([layers[number] for number in self.chosen], axis=-1)


class WeightedSum(nnx.Module):
    """`scale * sum_n softmax(weight)_n h_n`, over the embeddings and every layer (Peters et al. 2018, equation 1).

    It starts as their mean.
    """

    def __init__(self, dim: int, num_layers: int):
        self.weight = parameter((num_layers + 1,), ZEROS)
        self.scale = parameter((), ONES)
        self.width = dim

    def __call__(self, layers: Float[Array, "N1 B P D"]) -> Float[Array, "B P D"]:
        share = self.scale[...] * jax.nn.softmax(self.weight[...])
        return contract("n,nbpd->bpd", share, layers, "float32")


Features = SideBySide | WeightedSum


def captured(capture: Sequence[str], features: Features | None) -> Sequence[str]:
    """What a model captures: what it is asked for, and its layers where features are made of them."""
    return capture if features is None else (*capture, "layers")


def read(
    features: Features | None,
    hidden: Float[Array, "B P D"],
    layers: Float[Array, "N1 B L D"] | None,
    predict: Int[Array, "B P"],
) -> Float[Array, "B P _"]:
    """The features at `predict`, where `hidden` is the last layer behind the last norm; without features, itself."""
    if features is None:
        return hidden
    assert layers is not None, "they are captured"
    below = jax.vmap(gather, in_axes=(0, None))(layers[:-1], predict)
    return features(jnp.concatenate([below, hidden[None]]))
