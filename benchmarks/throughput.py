"""Measures training steps beside Hugging Face's PyTorch models on the same machine; prints a table, writes JSON.

python -m benchmarks.throughput --repeats=20 --json=throughput.json

Needs the extra `parity`. Every contestant is a process of its own, and they take turns: what else the machine does
falls upon all of them. Ratios are of the times within a round.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import jax
import numpy as np
from absl import app, flags
from jaxtyping import Float64

from benchmarks.sides import Name, Shape, our_product, ours, their_product, theirs
from benchmarks.timing import REPEATS, conditions, quartiles
from benchmarks.worker import Clock, Cost, Worker, in_turn

SIZES = {"mini": Shape(16, 128, 4, 4, 256, 8192), "base": Shape(32, 512, 12, 12, 768, 32_000)}
PRODUCT = {"cpu": 1536}
"""Rows of the square matrices whose product is timed; 8192 on an accelerator."""

MODELS = flags.DEFINE_multi_enum("models", list(get_args(Name)), get_args(Name), "which models")
SIZE = flags.DEFINE_enum("size", "mini", list(SIZES), "shape of batch and trunk")
CLOCK = flags.DEFINE_enum("clock", "wall", ["wall", "cpu"], "cpu: of a process, on one core of a busy machine")
JSON = flags.DEFINE_string("json", None, "a file for all numbers")


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One of those that take turns."""

    side: str
    precision: str
    make: Any
    args: tuple[Any, ...]
    everywhere: bool = True  # whether it is here, with a GPU or without


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured of one; the ratio is the time of their fastest over its own."""

    model: str
    side: str
    precision: str
    milliseconds: tuple[float, ...] = ()  # of each round
    tokens_per_second: float | None = None
    ratio: str | None = None
    compile_seconds: float | None = None
    peak_bytes: int | None = None
    utilization: float | None = None  # needed operations a second over the fastest product measured

    def cells(self) -> str:
        """A line of the table."""
        label = f"| {self.model} | {self.side} | {self.precision} "
        if not self.milliseconds:
            return label + "| not measured " + "|" * 6
        low, middle, high = np.quantile(self.milliseconds, [0.25, 0.5, 0.75])
        peak = "?" if self.peak_bytes is None else f"{self.peak_bytes / 2**20:,.0f}"
        return (
            f"{label}| {middle:.0f} ({low:.0f} to {high:.0f}) | {self.tokens_per_second:,.0f} | {self.ratio} "
            f"| {self.compile_seconds:.1f} | {peak} | {self.utilization:.0%} |"
        )


def contestants(shape: Shape, name: Name) -> list[Contestant]:
    """Ours and theirs in both precisions; theirs with the head where targets are, too, and compiled on a GPU."""
    found = [Contestant("Orderly", p, ours, (shape, name, p)) for p in ("float32", "bfloat16")]
    for autocast, precision in ((False, "float32"), (True, "bfloat16")):
        for compiled in (False, True):
            side = "transformers" + (", torch.compile" if compiled else "")
            args = (shape, name, autocast, True, compiled)
            found.append(Contestant(side, precision, theirs, args, everywhere=not compiled))
        if name == "bert":
            args = (shape, name, autocast, False, False)
            found.append(Contestant("transformers, head at targets", precision, theirs, args))
    return found


def products(size: int) -> list[Contestant]:
    """The square products of both libraries."""
    found = [Contestant("Orderly", p, our_product, (size, p)) for p in ("float32", "bfloat16")]
    return found + [Contestant("torch", p, their_product, (size, p == "bfloat16")) for p in ("float32", "bfloat16")]


def contest(running: list[Contestant]) -> tuple[Float64[np.ndarray, "R K"], list[Cost]]:
    """Their seconds in turn, and what each took beside."""
    clock: Clock = "wall" if CLOCK.value == "wall" else "cpu"
    workers = [Worker(each.make, *each.args, clock=clock) for each in running]
    times = in_turn(workers, REPEATS.value)
    return times, [worker.close() for worker in workers]


def measure(shape: Shape, name: Name, peak: float) -> list[Row]:
    """The rows of one model; `peak` is in operations a second."""
    every = contestants(shape, name)
    gpu = jax.default_backend() == "gpu"
    running = [each for each in every if each.everywhere or gpu]
    times, costs = contest(running)
    middle = np.median(times, axis=0)
    best = min((j for j, each in enumerate(running) if each.side != "Orderly"), key=lambda j: middle[j])
    rows = []
    for each in every:
        row = Row(name, each.side, each.precision)
        if each in running:
            j = running.index(each)
            row = dataclasses.replace(
                row,
                milliseconds=tuple(1000 * times[:, j]),
                tokens_per_second=shape.rows * shape.length / middle[j],
                ratio=quartiles(times[:, best] / times[:, j]),
                compile_seconds=max(0.0, costs[j].first - middle[j]),
                peak_bytes=costs[j].peak,
                utilization=shape.flops(name) / middle[j] / peak,
            )
        rows.append(row)
    return rows


def main(_: list[str]) -> None:
    shape = SIZES[SIZE.value]
    print(f"{conditions()}, {CLOCK.value} clock\n{shape}\n")
    size = PRODUCT.get(jax.default_backend(), 8192)
    running = products(size)
    rates = 2 * size**3 / np.median(contest(running)[0], axis=0)
    for each, rate in zip(running, rates, strict=True):
        print(f"{each.side} {each.precision}: {size} x {size} x {size} at {rate / 1e9:,.0f} GFLOP/s")
    print(
        "\n| model | side | operands | ms a step (quartiles) | tokens/s | their best / this | compile, s "
        "| peak, MiB | MFU |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    rows = []
    for name in get_args(Name):
        if name not in MODELS.value:
            continue
        rows += measure(shape, name, max(rates))
        print("\n".join(row.cells() for row in rows if row.model == name), flush=True)
    if JSON.value:
        peaks = {f"{each.side} {each.precision}": rate for each, rate in zip(running, rates, strict=True)}
        found = {
            "conditions": conditions(),
            "clock": CLOCK.value,
            "shape": dataclasses.asdict(shape),
            "products": peaks,
        }
        found["rows"] = [dataclasses.asdict(row) for row in rows]
        Path(JSON.value).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
