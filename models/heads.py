"""What is read off a trunk: a pooled vector and the sentence-pair decision, or the scores of a task."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from models.layers import Linear, dropout, gather
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


class TaskHead(nnx.Module):
    """Scores of classes, or one number, from the rows that a task reads: dropout, then W h + b.

    With a pooler, tanh(V h + c) comes first, as over the summary of BERT and of XLNet (Devlin et al. 2019, section
    4.1; Yang et al. 2019); GPT's last token and the words of a tagger have none. `read` is the width of the rows, if it
    is not the model's.
    """

    STREAM = 0x7461736B  # of its dropout: far from the numbers of a model's own keys

    def __init__(
        self,
        dim: int,
        outputs: int,
        initializer: Initializer,
        *,
        pooled: bool,
        dropout_rate: float,
        precision: Precision,
        read: int | None = None,
    ):
        width = (dim if read is None else read,)
        self.pooler = Linear(width, (dim,), initializer, bias=True, precision=precision) if pooled else None
        self.out = Linear((dim,) if pooled else width, (outputs,), initializer, bias=True, precision=precision)
        self.dropout_rate = dropout_rate

    def __call__(self, hidden: Float[Array, "B P _"], *, key: Key[Array, ""] | None = None) -> Float[Array, "B P C"]:
        """`key` is the one the model was called with."""
        own = None if key is None else jax.random.fold_in(key, self.STREAM)
        pooled = hidden if self.pooler is None else jnp.tanh(self.pooler(hidden))
        return self.out(dropout(pooled, self.dropout_rate, own))
