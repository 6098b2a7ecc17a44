"""What tasks of evaluate.py say: their tables, read from Markdown again, and their figures."""

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ablation.results import Results, Shown
from report.document import Block, Paragraph, Section, Table
from report.pictures import given

_CELL_END = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r"\s*:?-+:?\s*|\s*:\s*")  # evaluation/tables.py rules a column of one digit with ":"


def sections(results: Results, pictures: Mapping[str, Path | str]) -> list[Section]:
    """A section for each task that was asked."""
    numbers = itertools.count(1)
    return [Section(own.title, tuple(_blocks(own, numbers, pictures))) for own in results.shown]


def blocks(text: str, caption: str) -> Iterator[Block]:
    """Markdown as blocks: a table where lines form one, a paragraph of each other line."""
    for is_table, group in itertools.groupby(text.splitlines(), lambda line: line.lstrip().startswith("|")):
        lines = [line for line in group if line.strip()]
        if is_table and len(lines) > 1 and _is_rule(lines[1]):
            yield _table(lines, caption)
        else:
            yield from map(Paragraph, lines)


def _blocks(shown: Shown, numbers: Iterator[int], pictures: Mapping[str, Path | str]) -> Iterator[Block]:
    yield Paragraph("Asked of the runs of the first seed.")
    for text in shown.tables:
        yield from blocks(text, shown.title)
    for name in shown.figures:
        yield given(next(numbers), name, f"{shown.title}: {name}", pictures)


def _table(lines: list[str], caption: str) -> Table:
    head, rule, *rows = map(_cells, lines)
    left = tuple(name for name, own in zip(head, rule, strict=False) if not own.endswith(":"))
    return Table(caption, tuple(head), tuple(_fitted(row, len(head)) for row in rows), left)


def _cells(line: str) -> list[str]:
    """The cells of a line; a bar after a backslash is one that stands in a cell."""
    line = line.strip().removeprefix("|")
    cells = _CELL_END.split(line)
    if not cells[-1].strip():
        cells.pop()
    return [cell.strip().replace("\\|", "|") for cell in cells]


def _is_rule(line: str) -> bool:
    return all(_RULE.fullmatch(cell) for cell in _cells(line))


def _fitted(row: list[str], width: int) -> tuple[str, ...]:
    """A row of as many cells as the head has: a bar too many was part of the last."""
    return (*row[: width - 1], " | ".join(row[width - 1 :]), *[""] * (width - 1 - len(row)))[:width]
