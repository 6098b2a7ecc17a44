"""What one arm has more than another, paired by seed: a forest plot, and the numbers that it draws."""

import math
from collections.abc import Iterator, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablation.results import Effect, Metric, Results
from evaluation.figures import GRAY, blank, color, legend_below
from report.amounts import interval, number, probability
from report.characters import label, width
from report.document import Block, Heading, Paragraph, Section, Table
from report.pictures import picture

_HEAD = ("matched by", "arm", "minus", "difference (95 % interval)", "p", "by seed")
_WIDEST = 11.0
"""Inches of a row of panels: as wide as the page."""


def section(results: Results) -> Section | None:
    """The plot, then a table for each metric: numbers of different units share no column."""
    return Section("Effects", tuple(_blocks(results))) if results.effects else None


def forest(results: Results) -> Figure:
    """The effects of an ablation as `panels`."""
    labels = {matching: f"matched by {matching}" for matching in results.matchings}
    return panels(_asked(results), results.effects, labels)


def panels(metrics: Sequence[Metric], effects: Sequence[Effect], labels: Mapping[str, str]) -> Figure:
    """A panel for each metric; in it a row for each pair of arms, and in that a line for each matching, as labeled."""
    own = {metric.name: _pairs(effects, metric) for metric in metrics}
    most = max(map(len, own.values()))
    height = 1.1 + most * (0.22 + 0.2 * len(labels))
    across = 2.5 + 0.065 * max(width(_name(pair)) for pairs in own.values() for pair in pairs)
    columns = max(1, min(len(metrics), int(_WIDEST / across)))
    figure = blank(math.ceil(len(metrics) / columns), columns, width=across, height=height)
    for axes, metric in zip(figure.axes, metrics, strict=False):
        _panel(axes, metric, own[metric.name], effects, labels)
        axes.set_ylim(most - 0.4, -0.6)  # a row is as high in every panel
    for axes in figure.axes[len(metrics) :]:
        axes.set_visible(False)
    if len(labels) > 1:
        legend_below(figure, figure.axes[0])
    return figure


def _blocks(results: Results) -> Iterator[Block]:
    caption = (
        "Differences of arms, paired by seed. A point is the mean, a line its 95 % interval, a small dot a seed; "
        "the gray line is no difference."
    )
    yield picture("effects", caption, forest(results))
    yield Paragraph(
        "An effect is what the first arm has more than the second on the same seeds and items. p is of the two-sided "
        "exact sign-flip test over seeds, and is not corrected for the number of effects: verdicts are above."
    )
    for metric in _asked(results):
        yield Heading(f"{metric.name}, {metric.unit} ({metric.better} is better)")
        rows = tuple(
            (
                effect.matching,
                effect.one,
                effect.other,
                interval(effect.mean, sign="+"),
                probability(effect.p),
                ", ".join(number(value, sign="+") for value in effect.by_seed),
            )
            for effect in results.effects
            if effect.metric == metric.name
        )
        yield Table(f"Effects on {metric.name}", _HEAD, rows, left=("matched by", "arm", "minus", "by seed"))


def _asked(results: Results) -> list[Metric]:
    return [metric for metric in results.metrics if any(own.metric == metric.name for own in results.effects)]


def _pairs(effects: Sequence[Effect], metric: Metric) -> list[tuple[str, str]]:
    """The pairs of arms that are compared by a metric, in turn."""
    return list(dict.fromkeys((own.one, own.other) for own in effects if own.metric == metric.name))


def _name(pair: tuple[str, str]) -> str:
    return " - ".join(label(arm, 16) for arm in pair)


def _panel(
    axes: Axes,
    metric: Metric,
    pairs: Sequence[tuple[str, str]],
    effects: Sequence[Effect],
    labels: Mapping[str, str],
) -> None:
    axes.axvline(0, color=GRAY, linewidth=1)
    apart = 0.8 / len(labels)
    for m, matching in enumerate(labels):
        own = {(one.one, one.other): one for one in effects if _is_of(one, matching, metric)}
        drawn = [(row + apart * (m - (len(labels) - 1) / 2), own[pair])
                 for row, pair in enumerate(pairs) if pair in own]  # fmt: skip
        for height, effect in drawn:
            _line(axes, height, effect, color(m))
        axes.plot([one.mean.value for _, one in drawn], [height for height, _ in drawn], "o", color=color(m),
                  markersize=5, label=label(labels[matching], 40))  # fmt: skip
    axes.set_yticks(range(len(pairs)), list(map(_name, pairs)), fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
    axes.spines["left"].set_visible(False)
    axes.set_title(label(metric.name, 32), loc="left", fontsize=10)
    axes.set_xlabel(f"{label(metric.unit)} ({metric.better} is better)", fontsize=8.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.locator_params(axis="x", nbins=5)


def _line(axes: Axes, height: float, effect: Effect, hue: str) -> None:
    low, high = (effect.mean.value if math.isnan(end) else end for end in (effect.mean.low, effect.mean.high))
    axes.plot([low, high], [height, height], color=hue, linewidth=2, solid_capstyle="butt")
    if len(effect.by_seed) > 1:
        axes.plot(effect.by_seed, [height] * len(effect.by_seed), "o", color=hue, markersize=3, alpha=0.45,
                  markeredgewidth=0)  # fmt: skip


def _is_of(effect: Effect, matching: str, metric: Metric) -> bool:
    return (effect.matching, effect.metric) == (matching, metric.name)
