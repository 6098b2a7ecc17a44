"""Causal language modeling: p(x) is the product of p(x_t | x_<t), as in GPT and Transformer-XL."""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Key

from batch import Batch, Inputs, Output, Targets, Vocab
from objectives.base import Losses, Metrics, Scales, eligible, scale, show, token_loss


@dataclasses.dataclass(frozen=True)
class CausalLm:
    """Every position predicts its neighbor: the next token, or the previous one if `direction` is backward."""

    direction: Literal["forward", "backward"] = "forward"
    reuse: int | None = None  # positions that enter the memory; None: the whole window

    query_stream = False
    pair_weight = 0.0

    def prepare(self, batch: Batch, vocab: Vocab, key: Key[Array, ""]) -> tuple[Inputs, Targets]:
        del key  # nothing is random
        tokens, document = jnp.asarray(batch.tokens), jnp.asarray(batch.document)
        index = jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)
        step = -1 if self.direction == "forward" else 1
        order, edge = (index, -1) if self.direction == "forward" else (index[:, ::-1], 0)
        neighbor = jnp.roll(eligible(batch, vocab), step, axis=1) & (jnp.roll(document, step, axis=1) == document)
        weights = neighbor.at[:, edge].set(False).astype(jnp.float32)
        inputs = show(batch, order=order, predict=index, reuse=self.reuse)
        return inputs, Targets(labels=jnp.roll(tokens, step, axis=1), weights=weights)

    def scales(self, targets: Targets) -> Scales:
        return {"loss": scale(1.0, targets.weights)}

    def loss(self, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
        return token_loss(model, output, targets)
