"""Measures what XLNet's step costs in steps of BERT with the same trunk and batch; prints a table, draws the curves.

python -m benchmarks.xlnet_cost --repeats=20 --json=xlnet_cost.json --figure=docs/xlnet_cost.png

Both take turns, each in a process of its own. The analytic ratio is that of the operations that each needs.
"""

import dataclasses
from typing import Any

import numpy as np
from absl import app, flags
from matplotlib.figure import Figure

from benchmarks.contest import CLOCK, SIZE, SIZES, Contestant, contest, save
from benchmarks.sides import Shape, ours
from benchmarks.timing import conditions, middle_half, quartiles
from models.precision import Precision

LABELS = {"predict_one_in": "K", "memory": "memory M", "length": "length L", "layers": "layers N"}
BOUND = 1.4
"""The ratio that is asked of K = 6 without memory, at most."""

ALONG = flags.DEFINE_multi_enum("along", list(LABELS), ["none", *LABELS], "what is varied; none: the one shape alone")
OPERANDS = flags.DEFINE_enum("operands", "bfloat16", ["float32", "bfloat16"], "precision of matrix products")
FIGURE = flags.DEFINE_string("figure", None, "a file for the curves")


@dataclasses.dataclass(frozen=True)
class Point:
    """Both steps at one shape."""

    shape: Shape
    operands: str
    bert: tuple[float, ...]  # milliseconds of each round
    xlnet: tuple[float, ...]
    bert_compiles: float  # seconds
    xlnet_compiles: float
    ratio: tuple[float, ...]  # of each round's times: low quartile, median, high quartile
    analytic: float  # ratio of operations

    def cells(self) -> str:
        """A line of the table."""
        s, (low, middle, high) = self.shape, self.ratio
        return (
            f"| {s.predict_one_in:g} | {s.memory} | {s.length} | {s.layers} "
            f"| {quartiles(np.array(self.bert), 0)} | {quartiles(np.array(self.xlnet), 0)} "
            f"| {middle:.2f} ({low:.2f} to {high:.2f}) | {self.analytic:.2f} "
            f"| {self.bert_compiles:.1f} | {self.xlnet_compiles:.1f} |"
        )


def variants(base: Shape, axis: str) -> list[Shape]:
    """The shapes along an axis, the one that all axes share among them."""
    values: dict[str, tuple[Any, ...]] = {
        "none": (base.predict_one_in,),
        "predict_one_in": (2.0, 3.0, 6.0, 12.0),
        "memory": (0, base.length // 2, base.length),
        "length": (base.length // 2, base.length, 2 * base.length),
        "layers": (base.layers // 2, base.layers, 2 * base.layers, 4 * base.layers),
    }
    field = "predict_one_in" if axis == "none" else axis
    return [dataclasses.replace(base, **{field: value}) for value in values[axis]]


def measure(shape: Shape) -> Point:
    """Both steps in turn."""
    precision: Precision = "float32" if OPERANDS.value == "float32" else "bfloat16"
    times, costs = contest(
        [Contestant("Orderly", precision, ours, (shape, name, precision)) for name in ("bert", "xlnet")]
    )
    bert, xlnet = times.T
    compiles = [max(0.0, cost.first - float(each)) for cost, each in zip(costs, np.median(times, axis=0), strict=True)]
    return Point(
        shape,
        precision,
        bert=tuple((1000 * bert).tolist()),
        xlnet=tuple((1000 * xlnet).tolist()),
        bert_compiles=compiles[0],
        xlnet_compiles=compiles[1],
        ratio=middle_half(xlnet / bert),
        analytic=shape.flops("xlnet") / shape.flops("bert"),
    )


def draw(points: dict[str, list[Point]]) -> Figure:
    """The measured and the analytic ratio along each axis; below, the milliseconds and the seconds of compilation."""
    figure = Figure(figsize=(3 * len(points), 7), layout="constrained")
    panels = figure.subplots(3, len(points), sharey="row", sharex="col", squeeze=False)
    for (top, middle, bottom), (axis, found) in zip(panels.T, points.items(), strict=True):
        x = [getattr(point.shape, axis) for point in found]
        low, ratio, high = np.array([point.ratio for point in found]).T
        top.errorbar(x, ratio, (ratio - low, high - ratio), marker="o", capsize=3, color="C0", label="measured")
        top.plot(x, [point.analytic for point in found], linestyle="--", color="gray", label="operations")
        top.axhline(BOUND, color="gray", linewidth=0.5)
        for model, color in (("bert", "C1"), ("xlnet", "C0")):
            low, time, high = np.array([middle_half(np.array(getattr(point, model))) for point in found]).T
            middle.errorbar(x, time, (time - low, high - time), marker="o", capsize=3, color=color)
            label = {"bert": "BERT", "xlnet": "XLNet"}[model]
            bottom.plot(x, [getattr(point, f"{model}_compiles") for point in found], "o-", color=color, label=label)
        bottom.set_xlabel(LABELS[axis])
        bottom.set_xticks(x)
    for row, label in zip(panels, ("XLNet's step / BERT's", "ms a step", "compilation, s"), strict=True):
        row[0].set_ylabel(label)
        row[0].set_ylim(bottom=0)
    panels[0, 0].legend(frameon=False)
    panels[2, 0].legend(frameon=False)
    return figure


def main(_: list[str]) -> None:
    base = SIZES[SIZE.value]
    print(f"{conditions()}, {OPERANDS.value}, {CLOCK.value} clock\n{base}\n")
    print(
        "| K | M | L | N | BERT, ms (quartiles) | XLNet, ms (quartiles) | XLNet / BERT (quartiles) | of operations "
        "| BERT compiles, s | XLNet compiles, s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    done: dict[Shape, Point] = {}
    points: dict[str, list[Point]] = {}
    for axis in ALONG.value:
        shapes = variants(base, axis)
        for shape in shapes:
            if shape not in done:
                done[shape] = measure(shape)
                print(done[shape].cells(), flush=True)
                save(base, list(done.values()))
        if axis != "none":
            points[axis] = [done[shape] for shape in shapes]
            if FIGURE.value:
                draw(points).savefig(FIGURE.value, dpi=120)
    if base in done:
        ratio = done[base].ratio[1]
        print(f"\nK = {base.predict_one_in:g}, no memory: {ratio:.2f} steps of BERT; {BOUND} are asked for at most.")


if __name__ == "__main__":
    app.run(main)
