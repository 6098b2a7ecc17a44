"""What every benchmark measures with: interleaved timings, and what they were taken on."""

import datetime
import functools
import importlib.metadata
import os
import platform
import shlex
import sys
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
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "transformers")

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


def middle_half(values: Float64[np.ndarray, " R"]) -> tuple[float, ...]:
    """The lower quartile, the median and the upper quartile."""
    return tuple(np.quantile(values, [0.25, 0.5, 0.75]).tolist())


def quartiles(values: Float64[np.ndarray, " R"], digits: int = 2) -> str:
    """The median, with the quartiles in parentheses."""
    low, middle, high = middle_half(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def conditions() -> str:
    """One line: device, cores, version of jax, commit (with a + where files differ from it), how often was measured."""
    found = facts()
    where = f"{found['device']}, {found['cores']} cores"
    return f"{where}, jax {jax.__version__}, commit {found['commit']}, {REPEATS.value} repeats"


@functools.cache
def facts() -> dict[str, Any]:
    """What numbers were taken on, as they were begun: command, commit, date, device, cores, environment, versions."""
    device = jax.devices()[0]
    return {
        "command": shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "commit": commit(ROOT),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device": f"{device.platform} ({device.device_kind})",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "environment": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(TOLD)},
        "versions": {"Python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        "repeats": REPEATS.value,
    }


TOLD = ("XLA_", "JAX_", "OMP_", "MKL_", "MALLOC_", "GLIBC_TUNABLES", "CUDA_VISIBLE_DEVICES")
"""How variables of the environment begin that change how fast either side is."""


def version(name: str) -> str | None:
    """The version of a library; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
