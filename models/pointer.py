"""The head of XLNet's answers, whose end depends on their start (Yang et al. 2019; run_squad.py of the release)."""

import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from models.layers import LayerNorm, Linear, gather
from models.parameters import Initializer
from models.precision import Precision, contract


class PointerHead(nnx.Module):
    """Where an answer starts, where it ends if it starts there, and whether there is one.

    start_j = a h_j + b, and end_j = c norm(tanh(W [h_j; h_start] + d)) + e. That there is none has the logit
    f tanh(G [m; h_0] + g), where m is the mean of h under the softmax of the starts and h_0 stands for no answer. The
    release drops some of that tanh in training; here nothing but the trunk drops. `read` is the width of h, if it is
    not the model's.
    """

    def __init__(
        self,
        dim: int,
        initializer: Initializer,
        *,
        nullable: bool,
        epsilon: float,
        precision: Precision,
        read: int | None = None,
    ):
        linear = functools.partial(Linear, initializer=initializer, precision=precision)
        width = dim if read is None else read
        self.start = linear((width,), (1,), bias=True)
        self.token = linear((width,), (dim,), bias=True)  # the half of W that reads h_j
        self.given = linear((width,), (dim,), bias=False)  # the half of W that reads h_start
        self.norm = LayerNorm(dim, epsilon)
        self.end = linear((dim,), (1,), bias=True)
        self.null = linear((2 * width,), (dim,), bias=True) if nullable else None
        self.null_out = linear((dim,), (1,), bias=False) if nullable else None
        self.precision: Precision = precision

    def __call__(self, hidden: Float[Array, "B P _"], *, key: Key[Array, ""] | None = None) -> Float[Array, "B P 1"]:
        """The logits of starts."""
        del key  # it has no dropout of its own
        return self.start(hidden)

    def ends(self, hidden: Float[Array, "B P _"], start: Int[Array, "B A"]) -> Float[Array, "B A P"]:
        """The logits of the ends of answers that start at the slots `start`."""
        token, given = self.token(hidden), self.given(gather(hidden, start))
        return self.end(self.norm(jnp.tanh(token[:, None] + given[:, :, None])))[:, :, :, 0]

    def null_logit(self, hidden: Float[Array, "B P _"], weights: Float[Array, "B P"]) -> Float[Array, " B"]:
        """The logit of no answer, given the probabilities of starts; slot 0 stands for it."""
        assert self.null is not None and self.null_out is not None, "asked of a set where each question has an answer"
        mean = contract("bp,bpd->bd", weights, hidden, self.precision)
        return self.null_out(jnp.tanh(self.null(jnp.concatenate([mean, hidden[:, 0]], axis=-1))))[:, 0]


def num_pointer_parameters(dim: int, *, nullable: bool, side_by_side: int = 1) -> int:
    """Numbers in a head that reads k layers, of width W = k D.

    W + 1 and D + 1 of start and end, (2 W + 1) D + 2 D between them; (2 W + 1) D + D of no answer.
    """
    width = side_by_side * dim
    given, null = (2 * width + 1) * dim + 2 * dim, (2 * width + 1) * dim + dim
    return width + 1 + dim + 1 + given + (null if nullable else 0)
