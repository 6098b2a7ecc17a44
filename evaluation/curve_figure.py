"""The picture of context-cardinality curves: a panel for each kind of context, and beneath it the training mass."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.curve import KINDS, LEFT, RANDOM, TWO_SIDED, UNIGRAM, Line, cardinalities
from evaluation.figures import GRAY, blank, color, legend_below, short

MEANING = {
    RANDOM: "any c other tokens",
    LEFT: "the first c of the block, target next",
    TWO_SIDED: "the c around the target",
}
BEYOND = 1.35
"""Times the bits of the unigrams: a model that is worse than this gets its number at the edge, not a scale to fit."""

FULL = 0.85
"""Height of all targets of a model, of its strip."""

NEXT = 0.05
"""The least distance of two labels of c, of the axis."""

MARKERS = "osD^vPX"
DASHES = ("dotted", "dashed", "solid")
"""Of the gray lines: unigrams, n-grams, the optimum."""


def draw(lines: Sequence[Line], size: int) -> Figure:
    """The curves over the number of visible tokens, whose axis is geometric from both ends."""
    models = [line for line in lines if not line.is_baseline]
    names = dict(zip([line.name for line in models], short([line.name for line in models]), strict=True))
    strips = 0.25 + 0.3 * len(models)
    figure = blank(2, 3, width=3.9, height=(3.5 + strips) / 2, sharex=True, sharey="row", height_ratios=(3.5, strips))
    for kind, curves, masses in zip(KINDS, figure.axes[:3], figure.axes[3:], strict=True):
        curves.set_title(f"{kind}\n", fontsize=11)
        curves.text(0.5, 1.02, MEANING[kind], transform=curves.transAxes, ha="center", fontsize=8.5, color="#555555")
        for i, line in enumerate(models):
            _curve(curves, line, kind, label=names[line.name], color=color(i), marker=MARKERS[i % len(MARKERS)])
            _strip(masses, line, kind, len(models) - 1 - i, size, color(i))
        for line, dashes in zip([line for line in lines if line.is_baseline], DASHES, strict=False):
            _curve(curves, line, kind, label=line.name, color=GRAY, linestyle=dashes, marker="", zorder=1.5)
        _count_axis(masses, size)
        masses.set_title("training targets that see c tokens", loc="left", fontsize=8.5, color="#555555")
        masses.set_ylim(0, len(models))
        masses.set_yticks([row + FULL for row in range(len(models))], ["100 %"] * len(models), fontsize=7)
        masses.tick_params(axis="y", length=0)
        masses.grid(visible=False)
    figure.axes[0].set_ylabel("bits per token")
    _cut_off(figure, lines, models)
    legend_below(figure, figure.axes[1])
    return figure


def stretched(count: Num[np.ndarray, "..."], size: int) -> Float64[np.ndarray, "..."]:
    """Where c stands on the axis: log of what is visible over what is hidden, so that 1, 2, 4 and n - 1, n - 2, n - 4
    are told apart.
    """
    inside = np.clip(np.asarray(count, float), -0.75, size - 0.25)  # matplotlib asks beyond the ends
    return np.log((inside + 1) / (size - inside))


def unstretched(position: Num[np.ndarray, "..."], size: int) -> Float64[np.ndarray, "..."]:
    """The inverse of `stretched`."""
    odds = np.exp(np.asarray(position, float))
    return (size * odds - 1) / (1 + odds)


def cells(size: int) -> Float64[np.ndarray, " edges"]:
    """The edges of the bins of the training mass: a bin around each c that is asked about, as wide as the axis is."""
    at = stretched(np.array(cardinalities(size), float), size)
    between = unstretched((at[1:] + at[:-1]) / 2, size)
    return np.concatenate([[-0.5], between, [size - 0.5]])


def _curve(axes: Axes, line: Line, kind: str, **style: object) -> None:
    """The mean bits, with a band of their intervals."""
    points = [(count, found) for (own, count), found in line.points.items() if own == kind]
    counts, found = [count for count, _ in points], [found for _, found in points]
    drawn = axes.plot(counts, [one.value for one in found], linewidth=1.6, markersize=4, **style)  # type: ignore[arg-type]
    if not line.is_baseline and points:
        low, high = [one.low for one in found], [one.high for one in found]
        axes.fill_between(counts, low, high, color=drawn[0].get_color(), alpha=0.13, linewidth=0)


def _strip(axes: Axes, line: Line, kind: str, row: int, size: int, hue: str) -> None:
    """A strip from 0 to 100 %: the share of the targets in each bin of c."""
    axes.axhline(row, color=hue, linewidth=0.8)
    if kind not in line.kinds or line.mass is None:
        why = "not asked" if kind not in line.kinds else f"not trained in rows of {size + 1} tokens"
        axes.text(0.01, row + 0.2, why, transform=axes.get_yaxis_transform(), fontsize=7.5, color=hue)
    else:
        edges = cells(size)
        shares = np.histogram(np.arange(size), edges, weights=line.mass)[0]
        axes.stairs(row + FULL * shares, edges, baseline=row, fill=True, color=hue)


def _cut_off(figure: Figure, lines: Sequence[Line], models: Sequence[Line]) -> None:
    """Ends the axis of bits a little above the unigrams, where some model is far above them, and says how far."""
    unigram = [one.value for line in lines if line.name == UNIGRAM for one in line.points.values()]
    values = [one.value for line in models for one in line.points.values()]
    if not unigram or not values or max(values) <= (most := BEYOND * max(unigram)):
        return
    least = min(one.low if line in models else one.value for line in lines for one in line.points.values())
    figure.axes[0].set_ylim(least - 0.05 * (most - least), most)
    for kind, axes in zip(KINDS, figure.axes, strict=False):
        heights = ({c: one.value for (own, c), one in line.points.items() if own == kind} for line in models)
        beyond = [(i, own) for i, own in enumerate(heights) if own and max(own.values()) > most]
        for row, (i, own) in enumerate(beyond):
            at, place = max(own, key=own.__getitem__), axes.get_xaxis_transform()
            label = f"↑{own[at]:.1f}"
            style = {"ha": "center", "va": "top", "fontsize": 8, "color": color(i), "backgroundcolor": "white"}
            axes.text(at, 0.99 - 0.07 * row, label, transform=place, **style)


def _count_axis(axes: Axes, size: int) -> None:
    """Both panels of a column share it."""
    axes.set_xscale("function", functions=(lambda c: stretched(c, size), lambda x: unstretched(x, size)))
    axes.set_xlim(-0.5, size - 0.5)
    counts = cardinalities(size)
    at = stretched(np.array(counts), size)
    apart = np.diff(at, prepend=-np.inf) > NEXT * (at[-1] - at[0])  # else its label would touch the last one
    axes.set_xticks(counts, [str(count) if room else "" for count, room in zip(counts, apart, strict=True)])
    axes.minorticks_off()
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel(f"c, visible tokens of n = {size}")
