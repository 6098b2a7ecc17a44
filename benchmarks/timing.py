"""What every benchmark measures with: interleaved timings, and what they were taken on."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from jaxtyping import Float64

from ablation.origin import commit
from batch import Vocab

REPEATS = flags.DEFINE_integer("repeats", 20, "timings of each for each row of the table", lower_bound=1)

ROOT = Path(__file__).parents[1]

Timed = Callable[[], Any]

VOCAB = Vocab(size=4096, special=(0, 1, 2, 3), pad=0, cls=1, sep=2, mask=3)
"""Of random text."""


def seconds(run: Timed) -> float:
    """Wall-clock time until what a run returns is there."""
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def interleaved(runs: Sequence[Timed]) -> Float64[np.ndarray, "R K"]:
    """Seconds of each of K runs in each of R repeats, in turn: whatever else the machine does falls upon all of them.

    Every run is compiled and warm before the first repeat.
    """
    for run in [*runs] * 2:
        seconds(run)
    return np.array([[seconds(run) for run in runs] for _ in range(REPEATS.value)])


def quartiles(values: Float64[np.ndarray, " R"]) -> str:
    """The median, with the quartiles in parentheses."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def conditions() -> str:
    """One line: device, cores, version of jax, commit (with a + where files differ from it), how often was measured."""
    device = jax.devices()[0]
    where = f"{device.platform} ({device.device_kind}, {os.cpu_count()} cores)"
    return f"{where}, jax {jax.__version__}, commit {commit(ROOT)}, {REPEATS.value} repeats"
