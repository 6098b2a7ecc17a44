"""Measures what the loop costs beside its steps: its rate over that of the bare step, and how long it waits for data.

python -m benchmarks.overhead --repeats=5

A step as short as that of the smallest models leaves the host the least time to prepare batches and read numbers.
"""

import dataclasses
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
from absl import app

import training.loop
from benchmarks.timing import REPEATS, conditions, quartiles
from configs.shared import TINY, Size, trunk
from training.build import Run, build_run
from training.config import OptimizerConfig, TrainingConfig
from training.loop import train

STEPS = 300
MICRO = Size(  # a step of a few milliseconds
    trunk=trunk(2, 2, 32, dropout=0.0, initializer_range=0.06),
    data=dataclasses.replace(TINY.data, length=32, batch_size=8),
    optimizer=OptimizerConfig(total_steps=STEPS, warmup_steps=1),
    training=TrainingConfig(eval_every=STEPS, save_every=STEPS, eval_batches=1),
)


def bare(run: Run) -> Any:
    """A function that makes so many steps on one batch and returns steps a second."""
    programs, batch = run.programs(), jax.device_put(run.train.batch(0))
    state = programs.start(0)
    state, _ = programs.step(state, batch, 0)

    def rate() -> float:
        nonlocal state
        start = time.perf_counter()
        for _ in range(STEPS):
            state, record = programs.step(state, batch, 0)
        jax.block_until_ready((state, record))
        return STEPS / (time.perf_counter() - start)

    return rate


def looped(run: Run) -> tuple[float, float]:
    """Steps a second of the loop, its first step and its end left out, and the share of that time spent waiting."""
    times: list[float] = []
    waits: list[float] = []
    prefetch = training.loop.prefetch

    def watched(*args: Any, **options: Any) -> Generator[Any]:
        items = prefetch(*args, **options)
        try:
            while True:
                start = time.perf_counter()
                item = next(items, None)
                if item is None:
                    return
                waits.append(time.perf_counter() - start)
                times.append(time.perf_counter())
                yield item
        finally:
            items.close()

    with mock.patch.object(training.loop, "prefetch", watched), tempfile.TemporaryDirectory() as folder:
        train(run, Path(folder), progress=mock.MagicMock())
    whole = times[-1] - times[2]  # the first step compiles
    return (len(times) - 3) / whole, sum(waits[3:]) / whole


def silent(line: str) -> None:
    """Reports nothing."""
    del line


def main(argv: list[str]) -> None:
    del argv
    print(f"{conditions()}, {STEPS} steps\n")
    print(
        "| model | bare step, ms | loop / bare, median (quartiles) | of the time waited for data, median (quartiles) |"
    )
    print("|---|---|---|---|")
    for model in ("bert", "gpt", "xlnet"):
        run = build_run(getattr(MICRO, model)(), silent)
        rate, found = bare(run), []
        for _ in range(REPEATS.value):
            before, (of_loop, share), after = rate(), looped(run), rate()
            found.append((2 / (before + after), 2 * of_loop / (before + after), share))
        step, ratio, waited = np.array(found).T
        print(f"| {model} | {1000 * np.median(step):.2f} | {quartiles(ratio)} | {quartiles(waited)} |", flush=True)


if __name__ == "__main__":
    app.run(main)
