"""Prefix language modeling: the beginning of a row is seen whole, the rest is read left to right (Dong et al. 2019)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from batch import Batch, InputError, Inputs, Output, Targets, Vocab
from objectives.base import Losses, Metrics, Scales, neighbors, row_keys, scale, show, token_loss


@dataclasses.dataclass(frozen=True)
class PrefixLm:
    """Predicts what follows a prefix, whose tokens all see each other, from left to right (also Raffel et al. 2020).

    A row of n tokens, padding not counted, is cut behind its first 1, 2, ... or n - 1 tokens, each cut being equally
    likely, or behind the same `share` of every row. There is one cut a row: of documents packed in one row those
    before the cut are prefix and not predicted, those after it have no prefix. Cut behind its first token, a row is one
    of CausalLm.
    """

    share: float | None = None  # of a row's tokens that are prefix; None: a random cut, another one in every epoch
    reuse: int | None = None  # positions that enter the memory; None: the whole window

    query_stream = False
    pair_weight = 0.0
    reads = ("right",)

    def __post_init__(self):
        if self.share is not None and not 0 <= self.share < 1:
            raise InputError(f"objective.share={self.share}: must be at least 0 and below 1, or none for random cuts.")

    def prepare(self, batch: Batch, vocab: Vocab, key: Key[Array, ""]) -> tuple[Inputs, Targets]:
        real = jnp.asarray(batch.document) != 0
        cut = self.cut(real.sum(axis=1), row_keys(key, batch))
        order = jnp.maximum(jnp.cumsum(real, axis=1) - cut[:, None], 0)  # 0 in the prefix, then 1, 2, ...
        labels, asked = neighbors(batch, vocab, 1)
        behind = jnp.roll(order, -1, axis=1) > 0
        index = jnp.broadcast_to(jnp.arange(real.shape[1])[None], real.shape)
        inputs = show(batch, order=order, predict=index, reuse=self.reuse)
        return inputs, Targets(labels=labels, weights=(asked & behind).astype(jnp.float32))

    def cut(self, real: Int[Array, " B"], keys: Key[Array, " B"]) -> Int[Array, " B"]:
        """How many of a row's `real` tokens are prefix."""
        most = jnp.maximum(real - 1, 1)
        if self.share is None:
            return jax.vmap(lambda key, most: jax.random.randint(key, (), 1, most + 1))(keys, most)
        return jnp.clip(jnp.round(self.share * real).astype(jnp.int32), 1, most)

    def scales(self, targets: Targets) -> Scales:
        return {"loss": scale(1.0, targets.weights)}

    def loss(self, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
        return token_loss(model, output, targets)
