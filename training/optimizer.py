"""AdamW as BERT, GPT and XLNet use it: clip, Adam with or without bias correction, decoupled decay, schedule."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from training.config import OptimizerConfig
from training.schedule import learning_rate

__all__ = ["adam_without_correction", "decay_mask", "decayed", "learning_rate", "make_optimizer", "scale_layers"]

OUTSIDE_LAYERS = ("content_bias", "distance_bias", "segment_bias", "segment")
"""Parameters of an XLNet layer that the release declares outside of it, so that its layer-wise decay passes them by."""


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The update that `config` describes, for a nested dictionary of parameters.

    `update` expects the gradient of the whole batch, so that the norm that is clipped is the global one. The schedule
    reads the optimizer's own count of updates, which equals `TrainState.step` as each step updates once; what a
    logger wants to show is `learning_rate(config, state.step)` before the update.
    """
    clip = optax.clip_by_global_norm(config.clip) if config.clip else optax.identity()
    rate = optax.scale_by_learning_rate(lambda count: learning_rate(config, count))
    layers = scale_layers(config.layer_decay)
    return optax.chain(
        optax.chain(clip, layers) if config.layer_decay_of == "gradient" else clip,
        make_adam(config),
        optax.add_decayed_weights(config.weight_decay, mask=decay_mask),
        optax.chain(layers, rate) if config.layer_decay_of == "rate" else rate,
    )


def make_adam(config: OptimizerConfig) -> optax.GradientTransformation:
    """Adam with the bias correction of Kingma and Ba (2015), algorithm 1, or another one, or none.

    TensorFlow's Adam, which the releases of GPT and, without weight decay, of XLNet use, corrects the rate instead of
    the moments (ibid., end of section 2): its epsilon, "epsilon hat", is large beside the small moments of the start.
    """
    plain = adam_without_correction(config.beta1, config.beta2, config.epsilon)
    if not config.bias_correction:
        return plain
    if not config.epsilon_hat:
        return optax.scale_by_adam(config.beta1, config.beta2, config.epsilon)

    def correction(count):
        return jnp.sqrt(1 - config.beta2 ** (count + 1)) / (1 - config.beta1 ** (count + 1))

    return optax.chain(plain, optax.scale_by_schedule(correction))


class Moments(NamedTuple):
    """Running means of the gradient and of its square, both shaped as the parameters."""

    first: Any
    second: Any


def adam_without_correction(beta1: float, beta2: float, epsilon: float) -> optax.GradientTransformation:
    """`m / (sqrt(v) + epsilon)` without the bias correction of Kingma and Ba (2015), as released with BERT and XLNet.

    Both moments start at zero and v the slower, so that early updates are larger: by 3.2 at the first step and 6.6 at
    the twelfth with the usual betas. Warm-up hides it.
    """

    def init(params) -> Moments:
        return Moments(jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params))

    def update(updates, state, params=None):
        del params
        first = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, state.first, updates)
        second = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g**2, state.second, updates)
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + epsilon), first, second)
        return updates, Moments(first, second)

    return optax.GradientTransformation(init, update)


def decayed(path: tuple[Any, ...]) -> bool:
    """Whether the parameter at a key path of the tree shrinks with weight decay: all but biases and norm scales.

    XLNet's content, distance and segment biases do, as in its release, and so do the embeddings.
    """
    return path[-1].key not in ("bias", "scale")


def decay_mask(params) -> Any:
    """`decayed` of every leaf, in the tree of `params`."""
    return jax.tree_util.tree_map_with_path(lambda path, _: decayed(path), params)


def scale_layers(decay: float) -> optax.GradientTransformation:
    """Multiplies what belongs to layer l of N, counted from 0, by `decay ** (N - 1 - l)`: the top one keeps all.

    Of updates it is the layer-wise decay of Yang et al. 2019, appendix A.4. Their release multiplies gradients, after
    clipping, which Adam nearly cancels, as its update does not depend on the scale of a gradient until epsilon does.
    Embeddings, heads and `OUTSIDE_LAYERS` are left as they are, as in the release.
    """

    def scale(path: tuple[Any, ...], value):
        if path[0].key != "layers" or path[-1].key in OUTSIDE_LAYERS:
            return value
        below_top = jnp.arange(value.shape[0] - 1, -1, -1).reshape(-1, *(1,) * (value.ndim - 1))
        return value * decay**below_top

    return optax.stateless(lambda updates, _: jax.tree_util.tree_map_with_path(scale, updates))
