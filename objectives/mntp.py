"""Masked next-token prediction: hidden tokens predicted from the place before them (BehnamGhader et al. 2024)."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from batch import Batch, Inputs, Output, Targets, Vocab
from objectives.base import Losses, Metrics, Scales, neighbors
from objectives.masked import MaskedLm


@dataclasses.dataclass(frozen=True)
class MaskedNextToken:
    """Hides tokens as `hiding` does, and predicts the one at t from position t - 1, which sees both sides.

    Both this and CausalLm then read the next token from the same place, so that one model learns both (GPT-BERT:
    Charpentier and Samuel 2024, who mix them; see Mixture). The first token of a document is never a target: nothing
    of its document stands before it.
    """

    hiding: MaskedLm = dataclasses.field(default_factory=MaskedLm)  # which tokens, and how they are shown

    query_stream = False
    reads = ("before",)

    @property
    def reuse(self) -> int | None:
        return self.hiding.reuse

    @property
    def pair_weight(self) -> float:
        return self.hiding.pair_weight

    def prepare(self, batch: Batch, vocab: Vocab, key: Key[Array, ""]) -> tuple[Inputs, Targets]:
        follows = jnp.roll(neighbors(batch, vocab, 1)[1], 1, axis=1)
        inputs, targets = self.hiding.prepare_among(follows, batch, vocab, key)
        return dataclasses.replace(inputs, predict=jnp.maximum(inputs.predict - 1, 0)), targets

    def scales(self, targets: Targets) -> Scales:
        return self.hiding.scales(targets)

    def loss(self, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
        return self.hiding.loss(model, output, targets)
