"""What all sources are made of: their letters, their random distributions, and how symbols are drawn from them."""

import math
import string

import numpy as np
from jaxtyping import Float64, Int, Int64

from batch import InputError

LETTERS = string.ascii_lowercase + string.ascii_uppercase + string.digits
"""One byte each, and neither a space nor a mark: a document is one line, one sentence and one word."""

UNIFORM = 0.01
"""Share of every distribution that is uniform, so that any text is possible and a chain forgets where it began."""


def check(source: object, **bounds: tuple[float, float]) -> None:
    """Raises InputError unless the fields that are named lie within their bounds, which belong to them."""
    for name, (least, most) in bounds.items():
        value = getattr(source, name)
        if not (math.isfinite(value) and least <= value <= most):
            raise InputError(f"{name}={value}: must be from {least:g} to {most:g}.")


def distributions(rng: np.random.Generator, count: int, size: int, concentration: float) -> Float64[np.ndarray, "S V"]:
    """`count` draws of a symmetric Dirichlet distribution; the smaller its concentration, the more predictable."""
    return (1 - UNIFORM) * rng.dirichlet(np.full(size, concentration), count) + UNIFORM / size


def drawn(
    p: Float64[np.ndarray, "S V"], row: Int[np.ndarray, " Q"], rng: np.random.Generator
) -> Int64[np.ndarray, " Q"]:
    """One draw from p[row] for each row, by the inverse of its distribution function."""
    below = np.cumsum(p, axis=1)
    below /= below[:, -1:]
    size = p.shape[1]
    flat = (below + np.arange(len(p))[:, None]).ravel()  # sorted: one search serves all rows
    found = np.searchsorted(flat, row + rng.random(len(row)), side="right") - row * size
    return np.minimum(found, size - 1)
