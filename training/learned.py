"""Which parameters a run learns, and since when. The others keep every bit, have no gradient and no optimizer state."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from training.sharding import param_name

Since = tuple[int, ...]
"""The step from which a parameter is learned, or that of each of its layers; of one that never is, nothing."""

Learned = Callable[[str], Since]
"""Since when the parameter of a name is learned; None in its place means that all are, from the start."""


def learned_mask(learned: Learned, params: Any) -> Any:
    """Whether each leaf is ever learned, in the tree of `params`."""
    return jax.tree_util.tree_map_with_path(lambda path, _: bool(learned(param_name(path))), params)


def num_learned(learned: Learned | None, params: Any, steps: int) -> int:
    """How many numbers are learned in so many steps."""

    def count(path: tuple[Any, ...], leaf: Any) -> int:
        since = (0,) if learned is None else learned(param_name(path))
        return leaf.size // max(len(since), 1) * sum(first < steps for first in since)

    return sum(jax.tree.leaves(jax.tree_util.tree_map_with_path(count, params)))


def only_learned(optimizer: optax.GradientTransformation, learned: Learned | None) -> optax.GradientTransformation:
    """The optimizer for the parameters that are learned; of the others it has no state, and their updates mean nothing.

    What is clipped is the norm of the learned parameters' gradient. Those whose time has not come count: their moments
    are kept up, so that their first update is of the size of the others'.
    """
    return optimizer if learned is None else optax.masked(optimizer, lambda tree: learned_mask(learned, tree))


def stop_others(params: Any, learned: Learned | None) -> Any:
    """Inside a differentiated function: no gradient flows into what is never learned, and none is computed for it."""
    if learned is None:
        return params
    mask = learned_mask(learned, params)
    return jax.tree.map(lambda own, x: x if own else jax.lax.stop_gradient(x), mask, params)


def keep_others(new: Any, old: Any, learned: Learned | None, step: Int[Array, ""]) -> Any:
    """The new parameters where they are learned at a step, and the old ones elsewhere, not even -0.0 becoming 0.0."""
    if learned is None:
        return new

    def keep(path: tuple[Any, ...], x: Array, y: Array) -> Array:
        since = learned(param_name(path))
        if not any(since):
            return x if since else y
        begun = step >= jnp.asarray(since)
        return jnp.where(begun.reshape(-1, *(1,) * (x.ndim - 1)), x, y)

    return jax.tree_util.tree_map_with_path(keep, new, old)
