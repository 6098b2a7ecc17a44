"""Randomness: named streams from one root seed, so that no two uses ever share a key."""

import zlib

import jax
from jaxtyping import Array, Int, Key


def named_key(seed: int | Int[Array, ""], name: str) -> Key[Array, ""]:
    """The root of the stream called `name`: "initialization", "corruption" or "dropout"; the data has NumPy's."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def held_out_key() -> Key[Array, ""]:
    """The corruption of held-out text: the same for every run, seed and moment."""
    return named_key(0, "held-out corruption")
