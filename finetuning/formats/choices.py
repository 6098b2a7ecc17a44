"""Multiple choice: rows of a table with a context, its endings, and which of them is right."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from batch import InputError
from finetuning.examples import Choice
from finetuning.formats.delimited import Column, read_rows
from finetuning.formats.lines import at


@dataclasses.dataclass(frozen=True)
class ChoiceColumns:
    """Where a table keeps a choice; all by name, or all by number where it has no header."""

    context: Column
    endings: tuple[Column, ...]
    label: Column | None = None  # None: the set is published without
    begin: Column | None = None  # the words with which every ending begins
    name: Column | None = None  # None: choices are counted, from 0 on
    marks: tuple[str, ...] = ()  # what the label says for each ending, as in A B C D; or else 0 1 2 3


SWAG = ChoiceColumns("sent1", ("ending0", "ending1", "ending2", "ending3"), "label", "sent2")
"""Zellers et al. 2018: the second sentence is begun in `sent2`. Its test.csv has no label."""

CODAH = ChoiceColumns(1, (2, 3, 4, 5), 6)
"""Chen et al. 2019: category, context, four endings, label; the file has no header."""


def read_choices(path: Path, columns: ChoiceColumns, report: Callable[[str], None] | None = None) -> list[Choice]:
    """The choices of a .tsv, .csv or .jsonl file; an ending is joined by a space to the words that begin it.

    With `report` a row with too few or too many cells is told to it and left out. Raises InputError, with the line,
    for a label that names no ending and for a name that occurs twice.
    """
    marks = columns.marks or tuple(map(str, range(len(columns.endings))))
    if not len(marks) == len(columns.endings) >= 2:
        raise InputError(
            f"columns: {len(columns.endings)} endings, {len(marks)} marks; name two or more, and a mark for each."
        )
    fixed = [columns.context, *columns.endings]
    asked = fixed + [each for each in (columns.begin, columns.label) if each is not None]
    choices = []
    for line, name, cells in read_rows(path, asked, columns.name, report):
        context, *endings = cells[: len(fixed)]
        begin = "" if columns.begin is None else cells[len(fixed)]
        label = None if columns.label is None else _index(cells[-1], marks, at(path, line))
        choices.append(Choice(name, context, tuple(_joined(begin, each) for each in endings), label))
    return choices


def _joined(begin: str, ending: str) -> str:
    return f"{begin} {ending}" if begin else ending


def _index(label: str, marks: tuple[str, ...], where: str) -> int:
    if label not in marks:
        raise InputError(f"{where}: label {label!r} names no ending; it must be one of {', '.join(marks)}.")
    return marks.index(label)
