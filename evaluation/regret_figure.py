"""The picture of regrets: slice by slice how far each model is from the optimum."""

import dataclasses
from collections.abc import Sequence

from matplotlib.figure import Figure

from evaluation.figures import GRAY, blank, color, legend_below, short
from evaluation.regret import Losses, Slice

LINEAR = 0.01
"""Bits a symbol below which the axis is linear: regrets span decades, and may be 0."""

MARKERS = ("D", "s", "v", "x", "P")


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """Somebody, and what was lost in each slice; None where a checkpoint cannot be asked."""

    name: str
    losses: dict[Slice, Losses | None]


def draw(models: Sequence[Row], counted: Sequence[Row], untrained: Sequence[Row], parts: Sequence[Slice]) -> Figure:
    """Regrets with their intervals above the line that is the optimum; in gray what they are compared with."""
    figure = blank(width=6.4, height=3.8)
    (axes,) = figure.axes
    axes.set_yscale("symlog", linthresh=LINEAR)
    rows, gray = [*models, *counted, *untrained], len(counted) + len(untrained)
    named = short([row.name for row in (*models, *untrained)])
    names = [*named[: len(models)], *(row.name for row in counted), *named[len(models) :]]
    colors = [*map(color, range(len(models))), *[GRAY] * gray]
    marks = ["o"] * len(models) + [MARKERS[i % len(MARKERS)] for i in range(gray)]
    for i, row in enumerate(rows):
        found = [(x, lost.regret) for x, part in enumerate(parts) if (lost := row.losses.get(part)) is not None]
        at = [x + 0.7 * ((i + 0.5) / len(rows) - 0.5) for x, _ in found]
        values = [one.value for _, one in found]
        spread = [[one.value - one.low for _, one in found], [one.high - one.value for _, one in found]]
        axes.errorbar(at, values, spread, fmt=marks[i], color=colors[i], label=names[i], markersize=5, capsize=2)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.margins(y=0.08)
    axes.set_ylim(bottom=min(axes.get_ylim()[0], -LINEAR / 4))
    axes.set_xticks(range(len(parts)), parts)
    axes.set_xlim(-0.5, len(parts) - 0.5)
    axes.set_ylabel("bits a symbol above the optimum")
    legend_below(figure, axes)
    return figure
