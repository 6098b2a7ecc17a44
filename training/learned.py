"""Which parameters a run learns. The others keep every bit, have no gradient and no optimizer state."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from training.sharding import param_name

Learned = Callable[[str], bool]
"""Whether the parameter of a name is learned; None in its place means that all are."""


def learned_mask(learned: Learned, params: Any) -> Any:
    """Whether each leaf is learned, in the tree of `params`."""
    return jax.tree_util.tree_map_with_path(lambda path, _: learned(param_name(path)), params)


def only_learned(optimizer: optax.GradientTransformation, learned: Learned | None) -> optax.GradientTransformation:
    """The optimizer for the parameters that are learned; of the others it has no state, and their updates mean nothing.

    What is clipped is the norm of the learned parameters' gradient.
    """
    return optimizer if learned is None else optax.masked(optimizer, lambda tree: learned_mask(learned, tree))


def stop_others(params: Any, learned: Learned | None) -> Any:
    """Inside a differentiated function: no gradient flows into what is not learned, and none is computed for it."""
    if learned is None:
        return params
    mask = learned_mask(learned, params)
    return jax.tree.map(lambda own, x: x if own else jax.lax.stop_gradient(x), mask, params)


def keep_others(new: Any, old: Any, learned: Learned | None) -> Any:
    """The new parameters where they are learned, and the old ones elsewhere, not even -0.0 becoming 0.0."""
    if learned is None:
        return new
    return jax.tree.map(lambda own, x, y: x if own else y, learned_mask(learned, new), new, old)
