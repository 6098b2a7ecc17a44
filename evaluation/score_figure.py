"""The picture of the likelihoods: bits per byte of each checkpoint beside its baselines."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from evaluation.figures import GRAY, blank, color, short
from evaluation.statistics import bits_per_byte
from evaluation.tables import Row


def score_figure(trained: Sequence[Sequence[Row]], baselines: Sequence[Row]) -> Figure:
    """A point with its 95 % interval for each score: those of each checkpoint, then what they are compared with."""
    names = short([own[0].model for own in trained])
    points = [(f"{name}: {row.score.name}", row, color(i)) for i, name in enumerate(names) for row in trained[i]]
    whole = dict(zip((own[0].model for own in trained), names, strict=True))
    points += [(f"{_shortened(row.model, whole)}: {row.score.name}", row, GRAY) for row in baselines]
    figure = blank(width=7.2, height=0.32 * len(points) + 0.9)
    (axes,) = figure.axes
    for height, (_, row, shade) in enumerate(points):
        found = bits_per_byte(row.score)
        low, high = (found.value if math.isnan(end) else end for end in (found.low, found.high))
        axes.plot([low, high], [height, height], color=shade, linewidth=2)
        axes.plot(found.value, height, "o", color=shade, markersize=5)
        axes.annotate(
            f"{found.value:.3f}", (high, height), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_yticks(range(len(points)), [label for label, _, _ in points], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
    axes.set_xlabel("bits per byte, with 95 % interval (less is better)")
    return figure


def _shortened(model: str, names: dict[str, str]) -> str:
    """The name of a baseline, which begins with that of its checkpoint if it is one checkpoint's."""
    for whole, name in names.items():
        if model.startswith(f"{whole}, "):
            return name + model.removeprefix(whole)
    return model
