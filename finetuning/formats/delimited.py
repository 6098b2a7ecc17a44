"""Tables: the cells that are asked for, of each row of a .tsv, .csv or .jsonl file."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from batch import InputError
from finetuning.formats.lines import at, kind, lines, with_ends

Column = str | int
"""A name in the header, or an index: 0 is the first, -1 the last."""

KINDS = (".tsv", ".txt", ".csv", ".jsonl")
LONGEST = 2**31 - 1  # characters in a cell of CSV; Python's reader stops at 131,072 otherwise


class Row(NamedTuple):
    """A row of a file."""

    line: int  # on which it begins
    name: str  # from the file, or else the number of the rows before it
    cells: tuple[str, ...]


class _Cells(NamedTuple):
    line: int
    cells: tuple[str, ...]


def read_rows(
    path: Path, columns: Sequence[Column], name: Column | None = None, report: Callable[[str], None] | None = None
) -> Iterator[Row]:
    r"""The rows, each with the cells of `columns` in that order, and its name from the column `name` if there is one.

    Columns that are named are looked up in the first row, the header; columns that are numbered mean that the file
    has none. In .tsv and .txt a tab ends a cell and a quotation mark is text, as in GLUE; in .csv cells may be quoted
    (RFC 4180); in .jsonl each line is an object, whose strings are cells, and numbers and truth values are cells as
    they are written. An empty line is no row. All rows have as many cells as the first: those that have not are
    refused, or told to `report` and left out. Raises InputError for that, for a column that is not there, for a name
    that occurs twice and for a file without rows.
    """
    asked = [*columns, *([] if name is None else [name])]
    if not columns or len({isinstance(column, str) for column in asked}) > 1:
        raise InputError(f"columns={asked}: give names, or else numbers where the file has no header.")
    if kind(path) not in KINDS:
        raise InputError(f"{path}: the kind of table is told by its name; end it in {', '.join(KINDS)} (or these .gz).")
    found = _records(path, asked) if kind(path) == ".jsonl" else _table(path, _split(path), asked, report)
    lines_of: dict[str, int] = {}
    for index, (line, cells) in enumerate(found):
        named = str(index) if name is None else cells[-1]
        if named in lines_of:
            raise InputError(f"{at(path, line)} has the name {named!r} of line {lines_of[named]}; names must differ.")
        lines_of[named] = line
        yield Row(line, named, cells[: len(columns)])
    if not lines_of:
        raise InputError(f"{path} holds no rows; give a file that has some.")


def _split(path: Path) -> Iterable[_Cells]:
    if kind(path) == ".csv":
        return _quoted(path)
    return (_Cells(number, tuple(line.split("\t"))) for number, line in lines(path) if line)


def _quoted(path: Path) -> list[_Cells]:
    """The rows of CSV; read at once, because the longest cell is a setting of the whole process."""
    before = csv.field_size_limit(LONGEST)
    reader = csv.reader((line for _, line in with_ends(path)), strict=True)
    rows, first = [], 1
    try:
        for cells in reader:
            if cells:
                rows.append(_Cells(first, tuple(cells)))
            first = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{at(path, first)} begins a row that is not CSV ({error}); correct its quotes.") from None
    finally:
        csv.field_size_limit(before)
    return rows


def _table(
    path: Path, rows: Iterable[_Cells], columns: Sequence[Column], report: Callable[[str], None] | None
) -> Iterator[_Cells]:
    width, places = None, []
    for row in rows:
        if width is None:
            width, places = len(row.cells), [_place(column, row, path) for column in columns]
            if isinstance(columns[0], str):
                continue  # it was the header
        if len(row.cells) == width:
            yield _Cells(row.line, tuple(row.cells[place] for place in places))
            continue
        odd = f"{at(path, row.line)} has {_counted(len(row.cells))} where the first has {width}"
        if report is None:
            raise InputError(f"{odd}; correct it, or remove the line.")
        report(f"{odd}; it is left out.")


def _counted(cells: int) -> str:
    return f"{cells} column{'s' * (cells != 1)}"


def _place(column: Column, first: _Cells, path: Path) -> int:
    """The index of a column in the cells. Raises InputError, saying what there is, where there is no such column."""
    there = first.cells
    if isinstance(column, int):
        if not -len(there) <= column < len(there):
            last = len(there) - 1
            raise InputError(
                f"{at(path, first.line)} has {_counted(len(there))}, and none with the number {column}; "
                f"numbers go from 0 to {last}."
            )
        return column
    if there.count(column) != 1:
        how = "no column" if column not in there else f"{there.count(column)} columns"
        raise InputError(f"{path} has {how} {column!r} (it has {', '.join(map(repr, there))}); correct the name.")
    return there.index(column)


def _records(path: Path, columns: Sequence[Column]) -> Iterator[_Cells]:
    for number, line in lines(path):
        if line.strip():
            record = _record(line, at(path, number))
            yield _Cells(number, tuple(_cell(record, column, at(path, number)) for column in columns))


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line, parse_int=_Written, parse_float=_Written, parse_constant=_Written)
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at column {error.colno}"
        raise InputError(f"{where} is not JSON ({reason}); every line of a .jsonl file is one object.") from None
    except RecursionError:
        raise InputError(f"{where} is nested too deep; every line of a .jsonl file is one flat object.") from None
    if not isinstance(record, dict):
        raise InputError(f"{where} is no object; every line of a .jsonl file is one, with a field for each column.")
    return record


class _Written(str):
    """A number as the file writes it: a label 1.50 stays that."""


def _cell(record: dict[str, Any], column: Column, where: str) -> str:
    if column not in record:
        raise InputError(f"{where} has no field {column!r} (it has {', '.join(map(repr, record))}); correct the name.")
    value = record[column]
    if isinstance(value, bool):
        return json.dumps(value)
    if not isinstance(value, str):
        raise InputError(f"{where} holds {json.dumps(value)[:40]} in {column!r}; give text or a number.")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise InputError(f"{where} holds half of a surrogate pair in {column!r}; remove it.")
    return str(value)
