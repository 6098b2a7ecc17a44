"""What the head of a task reads, if not the last layer of the trunk: others, side by side, or a learned mean of all."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from batch import Inputs, Output
from models.layers import gather
from models.parameters import ONES, ZEROS, parameter
from models.precision import contract


class SideBySide(nnx.Module):
    """Some layers, their features one after the other (Devlin et al. 2019, section 5.3); 0 is the embeddings."""

    def __init__(self, dim: int, chosen: tuple[int, ...]):
        self.chosen = chosen
        self.width = dim * len(chosen)

    def __call__(self, layers: Float[Array, "_ B P D"]) -> Float[Array, "B P _"]:
        return jnp.concatenate(list(layers), axis=-1)


class WeightedSum(nnx.Module):
    """`scale * sum_n softmax(weight)_n h_n`, over the embeddings and every layer (Peters et al. 2018, equation 1).

    It starts as their mean.
    """

    def __init__(self, dim: int, num_layers: int):
        self.weight = parameter((num_layers + 1,), ZEROS)
        self.scale = parameter((), ONES)
        self.chosen = tuple(range(num_layers + 1))
        self.width = dim

    def __call__(self, layers: Float[Array, "N1 B P D"]) -> Float[Array, "B P D"]:
        share = self.scale[...] * jax.nn.softmax(self.weight[...])
        return contract("n,nbpd->bpd", share, layers, "float32")


Features = SideBySide | WeightedSum
"""Made of the layers that are `chosen`, in that order."""


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
    top = len(layers) - 1
    return features(jnp.stack([hidden if n == top else gather(layers[n], predict) for n in features.chosen]))


def without_trunk(
    inputs: Inputs, features: Features | None, task: Callable[..., Array] | None, key: Key[Array, ""] | None
) -> Output:
    """What the head of a task says of inputs that bring along what the trunk would say, which is not run then."""
    assert inputs.features is not None and task is not None, "asked of a task whose features are kept"
    layers = jnp.moveaxis(inputs.features, 2, 0)
    hidden = layers[0] if features is None else features(layers)
    return Output(hidden=hidden, scores=task(hidden, key=key))
