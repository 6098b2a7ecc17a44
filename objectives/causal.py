"""Causal language modeling: p(x) is the product of p(x_t | x_<t), as in GPT and Transformer-XL."""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Key

from batch import Batch, Inputs, Output, Targets, Vocab
from objectives.base import Losses, Metrics, Scales, neighbors, scale, show, token_loss


@dataclasses.dataclass(frozen=True)
class CausalLm:
    """Every position predicts its neighbor: the next token, or the previous one if `direction` is backward."""

    direction: Literal["forward", "backward"] = "forward"
    reuse: int | None = None  # positions that enter the memory; None: the whole window

    query_stream = False
    pair_weight = 0.0

    @property
    def reads(self) -> tuple[str, ...]:
        return ("right",) if self.direction == "forward" else ("left",)

    def prepare(self, batch: Batch, vocab: Vocab, key: Key[Array, ""]) -> tuple[Inputs, Targets]:
        del key  # nothing is random
        index = jnp.broadcast_to(jnp.arange(batch.tokens.shape[1])[None], batch.tokens.shape)
        forward = self.direction == "forward"
        labels, asked = neighbors(batch, vocab, 1 if forward else -1)
        inputs = show(batch, order=index if forward else index[:, ::-1], predict=index, reuse=self.reuse)
        return inputs, Targets(labels=labels, weights=asked.astype(jnp.float32))

    def scales(self, targets: Targets) -> Scales:
        return {"loss": scale(1.0, targets.weights)}

    def loss(self, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
        return token_loss(model, output, targets)
