"""Classification and regression of texts: labeled rows of a table."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from batch import InputError
from finetuning.examples import Labeled
from finetuning.formats.delimited import Column, read_rows
from finetuning.formats.labels import Known, checked
from finetuning.formats.lines import at


@dataclasses.dataclass(frozen=True)
class Columns:
    """Where a table keeps an example; all by name, or all by number where it has no header."""

    texts: tuple[Column, ...]
    label: Column | None = None  # None: the set is published without
    name: Column | None = None  # None: examples are counted, from 0 on


def read_labeled(
    path: Path, columns: Columns, known: Known = None, report: Callable[[str], None] | None = None
) -> list[Labeled]:
    """The examples of a .tsv, .csv or .jsonl file, texts as they are written.

    `known` are the labels that may occur: the declared ones, or for a dev set those of its training set. With `report`
    a row with too few or too many cells is told to it and left out; never do this where predictions are handed in.
    Raises InputError, with the line, for a label that is not known and for a name that occurs twice.
    """
    if not columns.texts:
        raise InputError("columns: no text among them; name the column of the text, or of both texts of a pair.")
    asked = [*columns.texts, *([] if columns.label is None else [columns.label])]
    examples = []
    for line, name, cells in read_rows(path, asked, columns.name, report):
        label = None if columns.label is None else checked(cells[-1], known, at(path, line))
        examples.append(Labeled(name, cells[: len(columns.texts)], label))
    return examples
