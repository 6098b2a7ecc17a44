"""Who sees whom: the attention masks of one row of each arm, drawn from the arrays that the model was given."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from ablation.results import Mask, Results
from evaluation.figures import blank, color
from report.characters import label, width
from report.document import Block, Heading, Paragraph, Section, Span
from report.pictures import picture

CELL, TITLE, LETTER = 0.19, 0.32, 0.072
"""Inches of a square, beside which a line of 7.5 points fits, of a title, and of a letter."""

MOST = 14
"""Letters of a token that a label shows; the text beneath shows all."""

GAP = 0.08
"""Of a square, left free on each side, so that squares can be counted."""

LABELED = 64
"""Tokens of a row, at most, that a figure has room to name."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """A stream: who sees whom, and its rows' labels, in bold where a token is predicted from them."""

    title: str
    seen: Bool[np.ndarray, "T L"]
    rows: Sequence[str]
    bold: Sequence[bool]


def section(results: Results) -> Section | None:
    """For each arm its mask, and the tokens that were asked for."""
    return Section("Attention masks", tuple(_blocks(results))) if results.masks else None


def drawing(mask: Mask) -> Figure:
    """The content stream's rows; beneath, those of the query stream if there is one. A square is a key that is seen.

    Of more than `LABELED` tokens, squares are as small as the page wants, and have no labels.
    """
    parts, tokens = list(_parts(mask)), [label(token, MOST) for token in mask.tokens]
    labeled = len(tokens) <= LABELED
    figure = _grid(parts, tokens, CELL if labeled else CELL * LABELED / len(tokens))
    for i, (axes, part) in enumerate(zip(figure.axes, parts, strict=True)):
        axes.set(xlim=(-0.5, len(tokens) - 0.5), ylim=(len(part.seen) - 0.5, -0.5))
        axes.set_title(part.title, loc="left", fontsize=9)
        axes.spines[:].set_visible(not labeled)
        axes.grid(visible=False)
        if labeled:
            _panel(axes, part, color(i))
        else:
            shade = ListedColormap([color(i)])
            axes.imshow(np.where(part.seen, 0.0, np.nan), cmap=shade, interpolation="none", aspect="auto")
    if labeled:
        figure.axes[-1].set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=7.5)
    return figure


def squares(seen: Bool[np.ndarray, "T L"]) -> Path:
    """One path of a square for each key (across) that a query (down) sees."""
    queries, keys = np.nonzero(seen)
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]) * (0.5 - GAP)
    vertices = np.stack([keys, queries], axis=1)[:, None] + corners[None]
    codes = np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], len(keys))
    return Path(vertices.reshape(-1, 2), codes)


def _parts(mask: Mask) -> Iterator[_Part]:
    """The streams that have rows, and how these are called."""
    tokens = [label(token, MOST) for token in mask.tokens]
    asked = [(position, f"→ {label(token, MOST)}") for position, token in mask.predicts]
    if mask.query is None or not len(mask.query):
        behind = dict(asked)
        rows = [f"{token} {behind.get(i, '')}".rstrip() for i, token in enumerate(tokens)]
        yield _Part("content stream", mask.content, rows, [i in behind for i in range(len(rows))])
        return
    yield _Part("content stream", mask.content, tokens, [False] * len(tokens))
    rows = [f"{position} {words}" for position, words in asked] + [""] * len(mask.query)  # slots may be unused
    yield _Part("query stream", mask.query, rows[: len(mask.query)], [True] * len(mask.query))


def _longest(labels: Iterable[str]) -> float:
    """Inches of the longest label."""
    return LETTER * max(map(width, labels), default=0) + 0.1


def _grid(parts: Sequence[_Part], tokens: Sequence[str], cell: float) -> Figure:
    """Panels one beneath the other, whose squares have the same size."""
    labeled = len(tokens) <= LABELED
    left = _longest(row for part in parts for row in part.rows) if labeled else 0.1
    across, height = left + cell * len(tokens) + 0.1, sum(cell * len(part.seen) + TITLE for part in parts) + 0.1
    height += _longest(tokens) if labeled else 0.0
    figure = blank(len(parts), sharex=True, width=across, height=height / len(parts))
    figure.set_layout_engine("none")
    bottom = height
    for axes, part in zip(figure.axes, parts, strict=True):
        bottom -= cell * len(part.seen) + TITLE
        place = (left / across, bottom / height, cell * len(tokens) / across, cell * len(part.seen) / height)
        axes.set_position(place)
        axes.set(xticks=[], yticks=[])
    return figure


def _panel(axes: Axes, part: _Part, hue: str) -> None:
    """Squares that can be counted, between fine lines, with the names of the rows."""
    queries, keys = part.seen.shape
    axes.add_patch(PathPatch(squares(part.seen), facecolor=hue, edgecolor="none"))
    axes.set_yticks(range(queries), part.rows, fontsize=7.5)
    for tick, bold in zip(axes.get_yticklabels(), part.bold, strict=True):
        tick.set_fontweight("bold" if bold else "normal")
    axes.set_xticks(np.arange(keys + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(queries + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e5e5e5", linewidth=0.6)
    axes.tick_params(which="both", length=0, labelbottom=axes is axes.figure.axes[-1])


def _blocks(results: Results) -> Iterator[Block]:
    yield Paragraph(
        "One row of the held-out text as each arm's objective prepares it. A line is a query, a column a key; a filled "
        "square is a key that the query sees. Lines in bold are those that a token is predicted from, which stands "
        "behind the arrow; positions count from 0."
    )
    for i, mask in enumerate(results.masks, start=1):
        yield Heading(mask.arm)
        query = "" if mask.query is None else f"; beneath, the {len(mask.query)} rows of its query stream"
        caption = f"{mask.arm}: who sees whom among {len(mask.tokens)} tokens{query}."
        yield picture(f"mask-{i}", caption, drawing(mask))
        if mask.predicts:
            yield Paragraph([f"{mask.arm} is asked for ", *_asked(mask), "."])


def _asked(mask: Mask) -> Iterator[str | Span]:
    """The tokens in full, which labels of a figure may not be."""
    for i, (position, token) in enumerate(mask.predicts):
        yield from (", " if i else "", Span(token, "token"), f" at {position}")
