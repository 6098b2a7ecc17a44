"""Contestants that take turns: what they run at, who they are, and the file that keeps what was measured."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from jaxtyping import Float64

from benchmarks.sides import Shape
from benchmarks.timing import REPEATS, facts
from benchmarks.worker import Clock, Cost, Worker, in_turn

SIZES = {
    "tiny": Shape(4, 16, 2, 2, 32, 64),  # to see a command work: its times mean nothing
    "mini": Shape(16, 128, 4, 4, 256, 8192),
    "base": Shape(32, 512, 12, 12, 768, 32_000),
}

SIZE = flags.DEFINE_enum("size", "mini", list(SIZES), "shape of batch and trunk")
CLOCK = flags.DEFINE_enum("clock", "wall", ["wall", "cpu"], "cpu: of a process, on one core of a busy machine")
JSON = flags.DEFINE_string("json", None, "a file for all numbers, written anew whenever there are more of them")


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One of those that take turns."""

    side: str
    precision: str
    make: Any
    args: tuple[Any, ...]
    imports: tuple[str, ...] = ()  # what it imports before its memory is counted
    everywhere: bool = True  # whether it is here, with a GPU or without
    as_installed: bool = False  # what a user of theirs has who does nothing: the fastest of these is the measure


def contest(running: Sequence[Contestant]) -> tuple[Float64[np.ndarray, "R K"], list[Cost]]:
    """Their seconds in turn, and what each took beside."""
    clock: Clock = "wall" if CLOCK.value == "wall" else "cpu"
    workers = [Worker(each.make, *each.args, clock=clock, imports=each.imports) for each in running]
    times = in_turn(workers, REPEATS.value)
    return times, [worker.close() for worker in workers]


def save(shape: Shape, rows: Sequence[Any], **more: Any) -> None:
    """Writes the rows so far, dataclasses, beside what they were measured on."""
    if JSON.value:
        found = {**facts(), "clock": CLOCK.value, "shape": dataclasses.asdict(shape), **more}
        found["rows"] = [dataclasses.asdict(row) for row in rows]
        Path(JSON.value).write_text(json.dumps(found, indent=1) + "\n")
