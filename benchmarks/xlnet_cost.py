"""Measures what XLNet's step costs in steps of BERT with the same trunk and batch; prints a table, draws the curves.

python -m benchmarks.xlnet_cost --repeats=20 --figure=docs/xlnet_cost.png

Both take turns, each in a process of its own. The analytic ratio is that of the operations that each needs.
"""

import dataclasses

import numpy as np
from absl import app, flags
from jaxtyping import Float64
from matplotlib.figure import Figure

from benchmarks.sides import Shape, ours
from benchmarks.throughput import SIZES
from benchmarks.timing import REPEATS, conditions, quartiles
from benchmarks.worker import Worker, in_turn
from models.precision import Precision

AXES = {
    "predict_one_in": (2.0, 3.0, 6.0, 12.0),
    "memory": (0, 64, 128),
    "length": (64, 128, 256),
    "layers": (2, 4, 8),
}
LABELS = {"predict_one_in": "K", "memory": "memory M", "length": "length L", "layers": "layers N"}

WHAT = flags.DEFINE_multi_enum("along", list(AXES), ["none", *AXES], "what is varied; none: the one shape alone")
OPERANDS = flags.DEFINE_enum("operands", "bfloat16", ["float32", "bfloat16"], "precision of matrix products")
FIGURE = flags.DEFINE_string("figure", None, "a file for the curves")


@dataclasses.dataclass(frozen=True)
class Point:
    """Both steps at one shape."""

    shape: Shape
    seconds: Float64[np.ndarray, "R 2"]  # of BERT and XLNet in each round
    first: tuple[float, float]  # seconds of their first steps, compilation included

    @property
    def ratios(self) -> Float64[np.ndarray, " R"]:
        return self.seconds[:, 1] / self.seconds[:, 0]

    @property
    def analytic(self) -> float:
        """Of operations."""
        return self.shape.flops("xlnet") / self.shape.flops("bert")

    def cells(self) -> str:
        """A line of the table."""
        s, (bert, xlnet) = self.shape, 1000 * np.median(self.seconds, axis=0)
        compiling = [first - each / 1000 for first, each in zip(self.first, (bert, xlnet), strict=True)]
        return (
            f"| {s.predict_one_in:g} | {s.memory} | {s.length} | {s.layers} | {bert:.0f} | {xlnet:.0f} "
            f"| {quartiles(self.ratios)} | {self.analytic:.2f} | {compiling[0]:.1f} | {compiling[1]:.1f} |"
        )


def measure(shape: Shape) -> Point:
    """Both steps in turn."""
    precision: Precision = "float32" if OPERANDS.value == "float32" else "bfloat16"
    workers = [Worker(ours, shape, name, precision) for name in ("bert", "xlnet")]
    times = in_turn(workers, REPEATS.value)
    costs = [worker.close() for worker in workers]
    return Point(shape, times, (costs[0].first, costs[1].first))


def draw(points: dict[str, list[Point]]) -> Figure:
    """One panel for each thing that was varied: the ratio measured, with its quartiles, and the analytic one."""
    figure = Figure(figsize=(3 * len(points), 3), layout="constrained")
    panels = figure.subplots(1, len(points), sharey=True, squeeze=False)[0]
    for panel, (axis, found) in zip(panels, points.items(), strict=True):
        x = [getattr(point.shape, axis) for point in found]
        low, middle, high = np.array([np.quantile(point.ratios, [0.25, 0.5, 0.75]) for point in found]).T
        panel.errorbar(x, middle, (middle - low, high - middle), marker="o", capsize=3, label="measured")
        panel.plot(x, [point.analytic for point in found], linestyle="--", color="gray", label="operations")
        panel.axhline(1.4, color="gray", linewidth=0.5)
        panel.set_xlabel(LABELS[axis])
        panel.set_xticks(x)
        panel.set_ylim(bottom=0)
    figure.axes[0].set_ylabel("step of XLNet / step of BERT")
    figure.axes[0].legend(frameon=False)
    return figure


def main(_: list[str]) -> None:
    base = SIZES["mini"]
    print(f"{conditions()}, {OPERANDS.value}\n{base}\n")
    print(
        "| K | M | L | N | BERT, ms | XLNet, ms | XLNet / BERT, median (quartiles) | of operations "
        "| BERT compiles, s | XLNet compiles, s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    done: dict[Shape, Point] = {}
    points: dict[str, list[Point]] = {}
    for axis in WHAT.value:
        shapes = [base] if axis == "none" else [dataclasses.replace(base, **{axis: value}) for value in AXES[axis]]
        for shape in shapes:
            if shape not in done:
                done[shape] = measure(shape)
                print(done[shape].cells(), flush=True)
        if axis != "none":
            points[axis] = [done[shape] for shape in shapes]
    if FIGURE.value and points:
        draw(points).savefig(FIGURE.value, dpi=120)


if __name__ == "__main__":
    app.run(main)
