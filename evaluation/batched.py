"""Many questions to one pass, in groups that the device's memory holds."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

Watch = Callable[[int, int], None]
"""Is told how many questions are answered, and of how many."""


def silent(done: int, total: int) -> None:
    """Watches nothing."""


def in_batches(
    count: int, batch: int, ask: Callable[[Int[np.ndarray, " B"]], Any], watch: Watch = silent
) -> Iterator[tuple[Int[np.ndarray, " B"], Any]]:
    """Which questions were asked together, and their answer, fetched while the device works on the next group.

    Groups have one size; the last asks its last question again, whose answer is the same.
    """
    pending = None
    for part in itertools.chain(_groups(count, min(batch, count)), [None]):
        answer = None if part is None else (part, ask(part))
        if pending is not None:
            yield pending[0], jax.device_get(pending[1])
            watch(int(pending[0][-1]) + 1, count)
        pending = answer


def _groups(count: int, batch: int) -> Iterator[Int[np.ndarray, " B"]]:
    """0, ..., count - 1 in groups of one size; the last repeats its last number."""
    for first in range(0, count, max(batch, 1)):
        yield np.minimum(np.arange(first, first + batch), count - 1)
