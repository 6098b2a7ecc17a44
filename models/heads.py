"""What is read off a trunk: a pooled vector, and the sentence-pair decision."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from models.layers import Linear, gather
from models.parameters import Initializer
from models.precision import Precision


class PairHead(nnx.Module):
    """BERT's pooler, tanh(W h + b) of the summary token, and two logits for a sentence pair (Devlin et al. 2019, 3.1).

    The pooler is trained through this decision only.
    """

    def __init__(self, dim: int, initializer: Initializer, *, precision: Precision):
        self.pooler = Linear((dim,), (dim,), initializer, bias=True, precision=precision)
        self.decision = Linear((dim,), (2,), initializer, bias=True, precision=precision)

    def pool(self, hidden: Float[Array, "B L D"], summary: Int[Array, " B"]) -> Float[Array, "B D"]:
        return jnp.tanh(self.pooler(gather(hidden, summary[:, None])[:, 0]))

    def logits(self, pooled: Float[Array, "B D"]) -> Float[Array, "B 2"]:
        return self.decision(pooled)
