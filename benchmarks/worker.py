"""Processes that take turns: each holds one thing to time, so that its memory and its threads are its own."""

import importlib
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float64

Clock = Literal["wall", "cpu"]
CLOCKS: dict[Clock, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # an accelerator's memory is for all of them

STATUS, REFRESH = Path("/proc/self/status"), Path("/proc/self/clear_refs")

PAUSE = 0.02
"""Seconds between two turns, in which the threads of whoever ran before stop waiting for more by spinning."""


class Held(NamedTuple):
    """What a worker times."""

    run: Callable[[], Any]  # returns when it is done
    peak: Callable[[], int | None] = lambda: None  # bytes of an accelerator's memory, at most so far


class Cost(NamedTuple):
    """What it took beside time in turns."""

    first: float  # seconds of the first run, compilation included
    peak: int | None  # bytes; on a CPU, resident memory at most while it ran, less what the imports took


class Worker:
    """A process that has made what `make(*args)` returns, and run it until it is warm.

    The modules `imports` are there before its memory is counted.

    The clock is "wall", or "cpu": seconds that the process had a processor for, all threads together. What else the
    machine does lengthens those less, but a thread that waits for others by spinning counts as busy.
    """

    def __init__(
        self,
        make: Callable[..., Held],
        *args: Any,
        clock: Clock = "wall",
        warmup: int = 3,
        imports: Sequence[str] = (),
    ):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        what = (theirs, make, args, clock, warmup, imports)
        self.process = context.Process(target=_serve, args=what, daemon=True)
        self.process.start()
        theirs.close()  # it is the process's alone: where that ends, reading ends
        self.first = float(self.answer())

    def answer(self) -> Any:
        """What the process sends next. Raises RuntimeError with what stopped it."""
        try:
            found = self.pipe.recv()
        except EOFError:
            raise RuntimeError("a worker ended without a word: it may have run out of memory") from None
        if isinstance(found, str):
            raise RuntimeError(found)
        return found

    def seconds(self) -> float:
        """The time of one run."""
        self.pipe.send("run")
        return self.answer()

    def close(self) -> Cost:
        """Ends the process."""
        self.pipe.send("end")
        peak = self.answer()
        self.process.join()
        return Cost(self.first, None if peak < 0 else peak)


def in_turn(workers: Sequence[Worker], repeats: int) -> Float64[np.ndarray, "R K"]:
    """Seconds of each of K workers in each of R rounds.

    A round begins with another worker each time, and every second one goes the other way round: nobody follows the same
    worker always.
    """
    times = np.zeros((repeats, len(workers)))
    for i in range(repeats):
        turns = np.roll(np.arange(len(workers)), -i)[:: 1 if i % 2 == 0 else -1]
        for j in turns.tolist():
            time.sleep(PAUSE)
            times[i, j] = workers[j].seconds()
    return times


def _serve(
    pipe: Connection,
    make: Callable[..., Held],
    args: tuple[Any, ...],
    clock: Clock,
    warmup: int,
    imports: Sequence[str],
) -> None:
    """What the process does."""
    now = CLOCKS[clock]
    try:
        for name in imports:
            importlib.import_module(name)
        before = _resident("VmRSS")
        held = make(*args)
        pipe.send(_timed(held.run, now))
        for _ in range(warmup - 1):
            held.run()
        if REFRESH.exists():
            REFRESH.write_text("5")  # the peak counts anew: compilers need memory too
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
        return
    while pipe.recv() == "run":
        pipe.send(_timed(held.run, now))
    own = held.peak()
    pipe.send(own if own is not None else _resident("VmHWM") - before)


def _timed(run: Callable[[], Any], now: Callable[[], float]) -> float:
    start = now()
    run()
    return now() - start


def _resident(field: str) -> int:
    """Bytes of resident memory: "VmRSS" now, "VmHWM" at most."""
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)
