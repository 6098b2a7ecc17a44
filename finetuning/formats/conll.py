"""Words in columns, one a line, as in the shared tasks of CoNLL: the word, its tag, an empty line after a sentence."""

import re
from collections.abc import Iterator
from pathlib import Path

from batch import InputError
from finetuning.examples import Tagged
from finetuning.formats.labels import Known, checked
from finetuning.formats.lines import at, lines

DOCUMENT = "-DOCSTART-"  # begins the line that CoNLL 2003 puts before each document


def read_conll(
    path: Path,
    word: int = 0,
    tag: int | None = -1,
    known: Known = None,
    comment: str | None = None,
    spaced: bool = True,
) -> list[Tagged]:
    """The sentences of a file in columns; `word` and `tag` are the numbers of columns, 0 the first and -1 the last.

    Lines are cut at tabs, or at spaces where the line of the first word has no tab. Lines of documents are left out,
    and so are those that begin with `comment`: none do unless it is given, because # is a word of many texts. The file
    does not say where words touch: `spaced` is what all of them have, False for Chinese characters. `known` are the
    tags that may occur. Raises InputError, with the line, for a line with more or fewer columns than the first, for an
    empty word and for a tag that is not known.
    """
    sentences = []
    for block in _blocks(path, comment, word, tag):
        words = tuple(cells[word] for _, cells in block)
        for line, cells in block:
            if not cells[word]:
                raise InputError(f"{at(path, line)} has an empty word; write it, or remove the line.")
        tags = None if tag is None else tuple(checked(cells[tag], known, at(path, line)) for line, cells in block)
        sentences.append(Tagged(str(len(sentences)), words, tags, (spaced,) * len(words)))
    if not sentences:
        raise InputError(f"{path} holds no words; give a file that has some.")
    return sentences


def blank_parted(path: Path) -> Iterator[list[tuple[int, str]]]:
    """The lines, with their numbers, between empty ones."""
    block: list[tuple[int, str]] = []
    for number, line in lines(path):
        if line.strip(" \t"):
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _blocks(path: Path, comment: str | None, word: int, tag: int | None) -> Iterator[list[tuple[int, list[str]]]]:
    width, tabs = None, False
    for block in blank_parted(path):
        rows = []
        for number, line in block:
            if comment is not None and line.startswith(comment):
                continue
            if line.startswith(DOCUMENT):
                continue
            tabs = "\t" in line if width is None else tabs
            cells = line.split("\t") if tabs else re.split("[ \t]+", line.strip(" \t"))
            width = _checked_width(cells, width, (word, tag), at(path, number))
            rows.append((number, cells))
        if rows:
            yield rows


def _checked_width(cells: list[str], width: int | None, asked: tuple[int | None, ...], where: str) -> int:
    if width is None:
        for column in asked:
            if column is not None and not -len(cells) <= column < len(cells):
                raise InputError(f"{where} has {len(cells)} columns, and none with the number {column}; correct it.")
    elif len(cells) != width:
        raise InputError(
            f"{where} has {len(cells)} columns where the first word has {width}; correct it, or, if it is a comment, "
            "say how comments begin."
        )
    return len(cells)
