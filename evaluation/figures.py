"""Pictures of what the tasks find: plain figures in one style, drawn without a display."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

DPI = 150

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Of the models, in turn: told apart by readers of all color vision (Okabe and Ito 2008)."""

LETTER, HANDLE = 0.075, 0.6
"""Inches of a legend that a letter takes, and the line before a label with the space around it."""

GRAY = "#8a8a8a"
"""Of what models are compared with: baselines, chance, the optimum."""


def blank(rows: int = 1, columns: int = 1, *, width: float = 4.8, height: float = 3.4, **layout: Any) -> Figure:
    """A figure of so many panels, each of this size in inches; its axes are `figure.axes`."""
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    figure.subplots(rows, columns, **layout)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
        axes.set_axisbelow(True)
    return figure


def color(index: int) -> str:
    """The color of the index-th model."""
    return COLORS[index % len(COLORS)]


def short(names: Sequence[str]) -> list[str]:
    """Names of workdirs without the folders that all of them have in common."""
    parts = [Path(name).parts for name in names]
    common = 0
    while all(len(own) > common + 1 and own[common] == parts[0][common] for own in parts):
        common += 1
    return [str(Path(*own[common:])) for own in parts]


def legend_below(figure: Figure, axes: Axes) -> None:
    """The legend of one panel, below all of them, where it covers no data; as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        widest = LETTER * max(map(len, labels)) + HANDLE
        columns = max(1, min(len(labels), int(figure.get_figwidth() / widest)))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def save(figures: Mapping[str, Figure], folder: Path) -> None:
    """Writes each figure as `name.png`."""
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=DPI)
