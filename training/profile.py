"""A trace of a few steps, for ui.perfetto.dev or TensorBoard's profiler."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

SKIPPED, TRACED = 5, 5
"""Steps before the trace, which compile, and steps in it."""


@contextlib.contextmanager
def profiled(folder: Path, wanted: bool) -> Iterator[Callable[[int], None]]:
    """Yields what the loop calls before each step; if wanted, the trace of five steps is written to `folder`."""
    seen = 0

    def before_step(step: int) -> None:
        nonlocal seen
        del step
        seen += 1
        if seen == SKIPPED + 1:
            jax.profiler.start_trace(str(folder))
        if seen == SKIPPED + TRACED + 1:
            jax.profiler.stop_trace()

    if not wanted:
        yield lambda step: None
        return
    try:
        yield before_step
    finally:
        if SKIPPED < seen <= SKIPPED + TRACED:
            jax.profiler.stop_trace()
    print(f"trace in {folder}" if seen > SKIPPED else f"no trace: the run had only {seen} of {SKIPPED + 1} steps left")
