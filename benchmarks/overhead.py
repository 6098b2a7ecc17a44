"""Measures what the loop costs beside its steps: its rate over that of the bare step, and how long it waits for data.

python -m benchmarks.overhead --repeats=5 --json=overhead.json

A step as short as that of the smallest models leaves the host the least time to prepare batches and read numbers.
"""

import contextlib
import dataclasses
import io
import json
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
from absl import app, flags, logging

import training.loop
from benchmarks.timing import REPEATS, conditions, facts, middle_half, quartiles
from configs.shared import TINY, Size, trunk
from training.build import Programs, Run, build_run
from training.loop import train

SIZES = {
    "tiny": TINY,
    "micro": dataclasses.replace(  # a step of a few milliseconds
        TINY,
        trunk=trunk(2, 2, 32, dropout=0.0, initializer_range=0.06),
        data=dataclasses.replace(TINY.data, length=32, batch_size=8),
    ),
}
NAMES = ("bert", "gpt", "xlnet")

SIZE = flags.DEFINE_multi_enum("size", list(SIZES), list(SIZES), "tiny: of configs/*_tiny.py; micro: far less")
MODELS = flags.DEFINE_multi_enum("models", NAMES, NAMES, "which models")
STEPS = flags.DEFINE_integer("steps", 100, "of one timing, of the loop and of the bare step", lower_bound=5)
JSON = flags.DEFINE_string("json", None, "a file for all numbers, written anew after each row")


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured of one model; a number for each repeat."""

    size: str
    model: str
    milliseconds: tuple[float, ...]  # of a bare step
    ratio: tuple[float, ...]  # steps a second of the loop over those of the bare step, before and after it
    waited: tuple[float, ...]  # share of the loop's time in which it had no batch

    def cells(self) -> str:
        """A line of the table."""
        parts = [quartiles(np.array(each)) for each in (self.milliseconds, self.ratio)]
        low, middle, high = middle_half(np.array(self.waited))
        return f"| {self.size} | {self.model} | {' | '.join(parts)} | {middle:.1%} ({low:.1%} to {high:.1%}) |"


def built(size: Size, name: str) -> Run:
    """A run of as many steps as are timed, evaluated and saved after the last."""
    steps, experiment = STEPS.value, getattr(size, name)()
    optimizer = dataclasses.replace(experiment.optimizer, total_steps=steps, warmup_steps=1)
    cadence = dataclasses.replace(experiment.training, eval_every=steps, save_every=steps, eval_batches=1)
    return build_run(dataclasses.replace(experiment, optimizer=optimizer, training=cadence), lambda line: None)


def bare(run: Run, programs: Programs) -> Callable[[], float]:
    """A function that makes so many steps on one batch and returns steps a second."""
    batch = jax.device_put(run.train.batch(0))
    state, _ = programs.step(programs.start(0), batch, 0)

    def rate() -> float:
        nonlocal state
        jax.block_until_ready(state)
        start = time.perf_counter()
        for _ in range(STEPS.value):
            state, record = programs.step(state, batch, 0)
        jax.block_until_ready((state, record))
        return STEPS.value / (time.perf_counter() - start)

    return rate


def looped(run: Run, programs: Programs) -> tuple[float, float]:
    """Steps a second of the loop, its first steps and its end left out, and the share of that time spent waiting."""
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

    with (
        mock.patch.object(training.loop, "prefetch", watched),
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stderr(io.StringIO()),  # its line of progress
    ):
        train(run, Path(folder), programs=programs)
    whole = times[-1] - times[2]
    return (len(times) - 3) / whole, sum(waits[3:]) / whole


def measure(size: str, name: str) -> Row:
    """The loop between two timings of the bare step, again and again."""
    run = built(SIZES[size], name)
    programs = run.programs()
    rate, found = bare(run, programs), []
    looped(run, programs)  # compiles what is left to compile
    for _ in range(REPEATS.value):
        before, (of_loop, share), after = rate(), looped(run, programs), rate()
        found.append((2000 / (before + after), 2 * of_loop / (before + after), share))
    step, ratio, waited = np.array(found).T.tolist()
    return Row(size, name, tuple(step), tuple(ratio), tuple(waited))


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)  # of checkpoints; the commands are as quiet
    print(f"{conditions()}, {STEPS.value} steps\n")
    print("| size | model | bare step, ms (quartiles) | loop / bare (quartiles) | waited for data (quartiles) |")
    print("|---|---|---|---|---|")
    rows: list[Row] = []
    for size in SIZE.value:
        for name in MODELS.value:
            rows.append(measure(size, name))
            print(rows[-1].cells(), flush=True)
            if JSON.value:
                found = {**facts(), "steps": STEPS.value, "rows": [dataclasses.asdict(row) for row in rows]}
                Path(JSON.value).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
