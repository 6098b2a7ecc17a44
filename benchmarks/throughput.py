"""Measures training steps beside Hugging Face's PyTorch models on the same machine; prints a table, writes JSON.

python -m benchmarks.throughput --repeats=20 --json=throughput.json

Needs the extra `parity`. Every contestant is a process of its own, and they take turns: what else the machine does
falls upon all of them. Ratios are of the times within a round.
"""

import dataclasses
from typing import get_args

import jax
import numpy as np
from absl import app, flags

from benchmarks.contest import CLOCK, SIZE, SIZES, Contestant, contest, save
from benchmarks.sides import PEERS, Name, Shape, our_product, ours, their_product, theirs
from benchmarks.timing import conditions, middle_half, quartiles

PRODUCT = {"cpu": 1536}
"""Rows of the square matrices whose product is timed; 8192 on an accelerator."""

MODELS = flags.DEFINE_multi_enum("models", list(get_args(Name)), get_args(Name), "which models")


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured of one; the ratio is the time of their fastest, as installed, over its own."""

    model: str
    side: str
    precision: str  # of operands; parameters and sums are float32
    milliseconds: tuple[float, ...] = ()  # of each round
    quartiles: tuple[float, ...] = ()  # of these: low, median, high
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
        low, middle, high = self.quartiles
        peak = "?" if self.peak_bytes is None else f"{self.peak_bytes / 2**20:,.0f}"
        return (
            f"{label}| {middle:.0f} ({low:.0f} to {high:.0f}) | {self.tokens_per_second:,.0f} | {self.ratio} "
            f"| {self.compile_seconds:.1f} | {peak} | {self.utilization:.0%} |"
        )


def contestants(shape: Shape, name: Name) -> list[Contestant]:
    """Ours and theirs in both precisions, and compiled on a GPU.

    Theirs also with what we do for ours: BERT's head where targets are, and freed pages kept (`training/pages.py`).
    """
    found = [Contestant("Orderly", p, ours, (shape, name, p)) for p in ("float32", "bfloat16")]
    imports = ("torch", PEERS[name].module)
    for autocast, precision in ((False, "float32"), (True, "bfloat16")):
        for compiled in (False, True):
            side = "transformers" + (", torch.compile" if compiled else "")
            args = (shape, name, autocast, True, compiled)
            found.append(Contestant(side, precision, theirs, args, imports, everywhere=not compiled, as_installed=True))
        if name == "bert":
            args = (shape, name, autocast, False, False)
            found.append(Contestant("transformers, head at targets", precision, theirs, args, imports))
        args = (shape, name, autocast, name != "bert", False, True)
        best = "transformers, pages kept" + (", head at targets" if name == "bert" else "")
        found.append(Contestant(best, precision, theirs, args, imports))
    return found


def products(size: int) -> list[Contestant]:
    """The square products of both libraries."""
    found = [Contestant("Orderly", p, our_product, (size, p)) for p in ("float32", "bfloat16")]
    return found + [Contestant("torch", p, their_product, (size, p == "bfloat16")) for p in ("float32", "bfloat16")]


def measure(shape: Shape, name: Name, peak: float) -> list[Row]:
    """The rows of one model; `peak` is in operations a second."""
    every = contestants(shape, name)
    gpu = jax.default_backend() == "gpu"
    running = [each for each in every if each.everywhere or gpu]
    times, costs = contest(running)
    middle = np.median(times, axis=0)
    best = min((j for j, each in enumerate(running) if each.as_installed), key=lambda j: middle[j])
    rows = []
    for each in every:
        row = Row(name, each.side, each.precision)
        if each in running:
            j = running.index(each)
            row = dataclasses.replace(
                row,
                milliseconds=tuple((1000 * times[:, j]).tolist()),
                quartiles=middle_half(1000 * times[:, j]),
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
    peaks = {f"{each.side} {each.precision}": rate for each, rate in zip(running, rates.tolist(), strict=True)}
    for name, rate in peaks.items():
        print(f"{name}: {size} x {size} x {size} at {rate / 1e9:,.0f} GFLOP/s")
    print(
        "\n| model | side | operands | ms a step (quartiles) | tokens/s | their best / this | compile, s "
        "| peak, MiB | MFU |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    rows: list[Row] = []
    for name in get_args(Name):
        if name in MODELS.value:
            found = measure(shape, name, max(rates))
            rows += found
            print("\n".join(row.cells() for row in found), flush=True)
            save(shape, rows, product_rows=size, products=peaks)


if __name__ == "__main__":
    app.run(main)
