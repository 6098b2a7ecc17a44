"""Masked diffusion: masked language modeling at every rate, weighted so that its loss bounds a likelihood."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key

from batch import Batch, Inputs, Output, Targets, Vocab
from objectives.base import (
    Losses,
    Metrics,
    Scales,
    eligible,
    labels_at,
    mask_id,
    row_keys,
    scale,
    show,
    token_loss,
)
from objectives.sampling import predictions, sample_tokens


@dataclasses.dataclass(frozen=True)
class MaskedDiffusion:
    """Hides k of a row's n eligible tokens behind [MASK], k uniform on 1 ... n, and weights each of them by n / k.

    `loss` is in nats per eligible token, since the weights of a row add up to n whatever k. Its expectation is that of
    any-order autoregression (`any_order_lm`) for every model of p(token | what is visible), and hence at least
    -log p(x) / n of the model's even mixture over orders (Uria et al. 2014; Liao et al. 2020). With n - k visible
    tokens instead of a rate t, it is the negative ELBO of absorbing diffusion with its time integrated out (Sahoo et
    al. 2024; Shi et al. 2024), of which the number of hidden tokens is all that matters.

    Rows draw k independently of each other. Draws stratified over the rows of a batch would vary less, but what is
    hidden in a row would then depend on its place in the batch and on how many rows that has.
    """

    query_stream = False
    reuse = None
    pair_weight = 0.0
    reads = ("mask",)

    def prepare(self, batch: Batch, vocab: Vocab, key: Key[Array, ""]) -> tuple[Inputs, Targets]:
        mask, tokens, allowed = mask_id(vocab, self), jnp.asarray(batch.tokens), eligible(batch, vocab)
        chosen = jax.vmap(uniformly_many)(allowed, row_keys(key, batch))
        predict, used = jax.vmap(functools.partial(predictions, slots=tokens.shape[1]))(chosen)
        number, hidden = allowed.sum(axis=1, keepdims=True), chosen.sum(axis=1, keepdims=True)
        weights = used * number / jnp.maximum(hidden, 1)
        shown = jnp.where(chosen, mask, tokens)
        inputs = show(batch, tokens=shown, order=jnp.zeros_like(tokens), predict=predict)
        return inputs, Targets(labels=labels_at(batch, predict, weights), weights=weights)

    def scales(self, targets: Targets) -> Scales:
        return {"loss": scale(1.0, targets.weights)}

    def loss(self, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
        return token_loss(model, output, targets)


def uniformly_many(allowed: Bool[Array, " L"], key: Key[Array, ""]) -> Bool[Array, " L"]:
    """Some of the allowed tokens: each number from 1 to all of them, and each choice of so many, is equally likely."""
    count, which = jax.random.split(key)
    return sample_tokens(allowed, jax.random.randint(count, (), 1, jnp.maximum(allowed.sum(), 1) + 1), which)
