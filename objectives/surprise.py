"""The cross-entropy over a vocabulary, for every objective: there are never more logits than memory is meant for."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from batch import Output, Targets

AT_ONCE = 2**26
"""Logits that are there at once: a quarter of a GiB of them."""

Surprise = tuple[Float[Array, "B P"], Bool[Array, "B P"]]


def surprises(model: Any, hidden: Float[Array, "B P D"], labels: Int[Array, "B P"]) -> Surprise:
    """The negative log-likelihood of each label in nats, and whether it is the most probable token.

    The logits [B, P, V] of a batch are the largest array of a step by far. Where they are more than `AT_ONCE`, they are
    computed a few slots at a time, and again in the backward pass, which keeps their normalizers alone: that costs a
    product more, and bounds the memory. All rows have their part in each, so that rows on different devices stay there.
    """
    if isinstance(model, Once):
        return model.judged(hidden, labels)

    def judge(hidden: Float[Array, "B P D"], labels: Int[Array, "B P"]) -> Surprise:
        logits = model.logits(hidden)
        return surprise(logits, labels), is_largest(jax.lax.stop_gradient(logits), labels)

    return in_parts(judge, hidden, labels, slots_at_once(model, hidden))


class Once:
    """A model whose predictions are judged once, however many parts of an objective ask about them."""

    def __init__(self, model: Any, output: Output, targets: Targets):
        self._model, self._asked = model, (output.hidden, targets.labels)
        self._found = surprises(model, *self._asked)

    def judged(self, hidden: Float[Array, "B P D"], labels: Int[Array, "B P"]) -> Surprise:
        """What was found if these very arrays were judged, and what is found now if others are asked about."""
        same = hidden is self._asked[0] and labels is self._asked[1]
        return self._found if same else surprises(self._model, hidden, labels)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def slots_at_once(model: Any, hidden: Float[Array, "B P D"]) -> int:
    """How many slots of each row are judged at a time."""
    rows, _, vocab_size = jax.eval_shape(model.logits, hidden).shape
    return max(1, AT_ONCE // (rows * vocab_size))


def in_parts(
    judge: Callable[..., Surprise], hidden: Float[Array, "B P D"], labels: Int[Array, "B P"], slots: int
) -> Surprise:
    """`judge` of all slots, so many at a time, as evenly as their number allows."""
    total = labels.shape[1]
    parts = -(-total // slots)
    if parts == 1:
        return judge(hidden, labels)
    each = -(-total // parts)

    def cut(x: Array) -> Array:
        padded = jnp.pad(x, ((0, 0), (0, parts * each - total), *[(0, 0)] * (x.ndim - 2)))
        return jnp.moveaxis(padded.reshape(len(x), parts, each, *x.shape[2:]), 1, 0)

    keep = jax.checkpoint_policies.save_only_these_names("normalizer")
    again = jax.checkpoint(judge, prevent_cse=False, policy=keep)
    found = jax.lax.map(lambda part: again(*part), (cut(hidden), cut(labels)))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(len(labels), -1)[:, :total], found)


def is_largest(logits: Float[Array, "B P V"], labels: Int[Array, "B P"]) -> Bool[Array, "B P"]:
    """Whether `argmax`, the first of the largest, is the label; comparisons alone are faster than to find it."""
    own = jnp.take_along_axis(logits, labels[:, :, None], axis=-1)
    earlier = jnp.arange(logits.shape[-1])[None, None] < labels[:, :, None]
    return jnp.where(earlier, own > logits, own >= logits).all(axis=-1)


@jax.custom_vjp
def surprise(logits: Float[Array, "B P V"], labels: Int[Array, "B P"]) -> Float[Array, "B P"]:
    """-log softmax(logits) of the labels; its backward pass reads nothing but the logits and their normalizers."""
    return _forward(logits, labels)[0]


def _forward(logits, labels):
    normalizer = checkpoint_name(jax.nn.logsumexp(logits, axis=-1), "normalizer")
    own = jnp.take_along_axis(logits, labels[:, :, None], axis=-1)[:, :, 0]
    return normalizer - own, (logits, labels, normalizer)


def _backward(residuals, cotangent):
    logits, labels, normalizer = residuals
    own = jnp.arange(logits.shape[-1])[None, None] == labels[:, :, None]
    return cotangent[:, :, None] * (jnp.exp(logits - normalizer[:, :, None]) - own), None


surprise.defvjp(_forward, _backward)
