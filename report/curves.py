"""How the arms learned: what each gains over the unigrams by its own objective, as it reads and as it computes."""

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from ablation.results import Curve, Results
from evaluation.figures import GRAY, blank, color, legend_below
from report.characters import label
from report.document import Block, Paragraph, Section
from report.pictures import picture

Axis = Literal["tokens", "flops"]

_NAMES: dict[Axis, str] = {"tokens": "tokens read", "flops": "FLOPs"}
_COLUMNS = 3
_DASHES = ("solid", "dashed", "dotted", "dashdot")  # of the matchings, whose lines may cover one another
_BELOW = 0.25
"""Of the greatest gain: so much is shown of losses that are worse than the unigrams', as those of the first steps."""


def section(results: Results) -> Section | None:
    return Section("Learning curves", tuple(_blocks(results))) if results.curves else None


def gain(curve: Curve) -> Float64[np.ndarray, "seeds T"]:
    """What each seed predicts better than the unigrams do, in nats a target; NaN where a loss is not finite."""
    loss = np.array(curve.loss, np.float64)
    return curve.baseline - np.where(np.isfinite(loss), loss, np.nan)


def curves(results: Results, axis: Axis) -> Figure:
    """A panel for each arm, with an axis of its own; a line for each matching."""
    arms = [arm for arm in results.arms if any(curve.arm == arm.name for curve in results.curves)]
    columns = min(_COLUMNS, len(arms))
    figure = blank(math.ceil(len(arms) / columns), columns, width=3.3, height=2.5, sharex=True)
    for axes, arm in zip(figure.axes, arms, strict=False):
        for m, matching in enumerate(results.matchings):
            for curve in results.curves:
                if (curve.arm, curve.matching) == (arm.name, matching):
                    found, x = gain(curve), getattr(curve, axis)
                    axes.plot(x, found.mean(axis=0), color=color(m), linewidth=1.6, linestyle=_DASHES[m % 4],
                              label=label(f"matched by {matching}", 40))  # fmt: skip
                    axes.fill_between(x, found.min(axis=0), found.max(axis=0), color=color(m), alpha=0.18, linewidth=0)
        _from_unigrams(axes)
        axes.set_xlabel(_NAMES[axis], fontsize=8.5)
        axes.set_title(label(arm.name, 16), loc="left", fontsize=10)
        axes.set_title(label(arm.objective, 16), loc="right", fontsize=8, color="#555555")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.tick_params(labelsize=8, labelbottom=True)
    for axes in figure.axes[len(arms) :]:
        axes.set_visible(False)
    figure.supylabel("gain, nats a target", fontsize=8.5)
    if len(results.matchings) > 1:
        legend_below(figure, figure.axes[0])
    return figure


def _from_unigrams(axes: Axes) -> None:
    """Marks where the unigrams are, and cuts off what is far below them."""
    axes.axhline(0, color=GRAY, linewidth=1)
    low, high = axes.get_ylim()
    if high > 0:
        axes.set_ylim(max(low, -_BELOW * high), high)


def _blocks(results: Results) -> Iterator[Block]:
    yield Paragraph(
        "The gain is the loss of the unigrams on the same targets minus the held-out loss of the arm's own objective. "
        "Objectives ask different questions, so that their losses, and gains, are not to be compared from one panel "
        "to another: each has its own axis, and shows when its arm learns, and whether it is done. The yardsticks "
        "compare."
    )
    band = "" if len(results.seeds) == 1 else " The line is the mean over seeds; the band reaches from the least to "
    band += "" if len(results.seeds) == 1 else "the greatest of them."
    for axis in ("tokens", "flops"):
        caption = (
            f"Gain over the unigrams against {_NAMES[axis]}, by each arm's own objective; the gray line is 0.{band}"
        )
        yield picture(f"curves-{axis}", caption, curves(results, axis))
