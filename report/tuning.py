"""How sensitive the arms are to the peak learning rate, and which rates they got."""

import math
from collections.abc import Iterator

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ablation.results import Results
from evaluation.figures import GRAY, blank, color
from report.amounts import NONE, number
from report.characters import label
from report.document import Block, Items, Section, Span, Table, Words
from report.pictures import picture

_COLUMNS = 3


def section(results: Results) -> Section | None:
    return Section("Tuning", tuple(_blocks(results))) if results.tuning else None


def sensitivity(results: Results) -> Figure:
    """A panel for each arm: loss against rate, a ring around the best, a gray line at the rate that arms share."""
    columns = min(_COLUMNS, len(results.tuning))
    figure = blank(math.ceil(len(results.tuning) / columns), columns, width=3.3, height=2.4)
    for axes, tuning in zip(figure.axes, results.tuning, strict=False):
        loss = [value if math.isfinite(value) else math.nan for value in tuning.loss]
        axes.axvline(tuning.shared, color=GRAY, linewidth=1, linestyle="--")
        axes.plot(tuning.rates, loss, "o-", color=color(0), linewidth=1.6, markersize=4)
        if tuning.best in tuning.rates:
            at = loss[tuning.rates.index(tuning.best)]
            axes.plot(tuning.best, at, "o", color=color(0), markersize=10, markerfacecolor="none", markeredgewidth=1.5)
        axes.set_xscale("log")
        axes.set_xticks(tuning.rates, [f"{rate:g}" for rate in tuning.rates], rotation=45, ha="right")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.ticklabel_format(axis="y", useOffset=False, style="plain")
        axes.minorticks_off()
        axes.set_xlabel("peak learning rate", fontsize=8.5)
        axes.set_title(label(tuning.arm), loc="left", fontsize=10)
        axes.tick_params(labelsize=8)
    for axes in figure.axes[len(results.tuning) :]:
        axes.set_visible(False)
    figure.supylabel("held-out loss, nats a target", fontsize=8.5)
    return figure


def _blocks(results: Results) -> Iterator[Block]:
    caption = (
        "Held-out loss of each arm's own objective against the peak learning rate. The ring is the arm's best rate, "
        "the dashed line the rate that all arms share."
    )
    yield picture("tuning", caption, sensitivity(results))
    yield Items(tuple(_sentence(own.arm, own.best, own.shared) for own in results.tuning))
    rates = sorted({rate for own in results.tuning for rate in own.rates})
    given = {(own.arm, rate): loss for own in results.tuning for rate, loss in zip(own.rates, own.loss, strict=True)}
    best = {own.arm: own.best for own in results.tuning}
    rows = tuple((f"{rate:g}", *(_cell(given.get((arm, rate)), best[arm] == rate) for arm in best)) for rate in rates)
    yield Table("Loss by peak rate; a column is an arm", ("peak rate", *best), rows, left=("peak rate",))


def _sentence(arm: str, best: float, shared: float) -> Words:
    if best == shared:
        return [Span(arm, "strong"), f": the shared rate of {shared:g} is its best of those tried."]
    return [Span(arm, "strong"), f": best at {best:g}; all arms share {shared:g}."]


def _cell(loss: float | None, best: bool) -> Words:
    if loss is None:
        return NONE
    return [Span(f"★ {number(loss)}", "strong")] if best else number(loss)
