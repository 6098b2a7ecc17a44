"""Labeled text for probes: words with a label each, or sentences with one, read from the files that hold such text.

A name that ends in .conllu is CoNLL-U (universaldependencies.org/format.html). Any other file is columns between tabs,
told apart by how it is built: tagged words have blank lines between their sentences and no spaces in their columns;
labeled sentences have two columns and no blank lines.
"""

import dataclasses
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from batch import InputError
from data.words import edges_of_bytes

COLUMNS = 10
"""Of a CoNLL-U line; of them, ID, FORM, UPOS and MISC are read."""

_ID = re.compile(r"[0-9]+([-.][0-9]+)?")

Numbered = tuple[int, str]
"""A line's number and the line."""


@dataclasses.dataclass(frozen=True)
class Sentence:
    """A text, and what in it is labeled: words from left to right, or the whole."""

    text: str
    stops: tuple[int, ...]  # where each labeled word ends, in characters; equal for words that are written as one
    types: tuple[str, ...]  # the word that each label is for; of a labeled sentence, its first word
    labels: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Labeled:
    """The sentences of a file in reading order, and whether their words are labeled or they are themselves."""

    path: str
    sentences: tuple[Sentence, ...]
    of_words: bool

    @property
    def unit(self) -> str:
        return "word" if self.of_words else "sentence"


def read_labels(path: str) -> Labeled:
    """The labeled text of a file. Raises InputError, with the line where there is one, on what it cannot be."""
    lines = _lines(path)
    if path.removesuffix(".gz").endswith(".conllu"):
        found = Labeled(path, tuple(_conllu(path, group) for group in _groups(lines)), of_words=True)
    else:
        found = _columns(path, lines)
    if not found.sentences:
        raise _refusal(path, "it is empty", "name a file with labeled words or sentences")
    labels = {label for sentence in found.sentences for label in sentence.labels}
    if len(labels) < 2:
        raise _refusal(path, f"every label is {labels.pop()}", "a probe needs at least two to tell apart")
    return found


def first_word(text: str) -> str:
    """The text up to where its second word starts; of Chinese, its first character."""
    data = text.strip().encode()
    opens, closes = edges_of_bytes(np.frombuffer(data, np.uint8).astype(np.int32))
    starts = np.flatnonzero(opens[1:] | closes[:-1])
    return (data[: starts[0] + 1] if len(starts) else data).decode()


@dataclasses.dataclass
class _Surface:
    """What stands between two spaces at most: a word, or a multiword token, whose last word has the number `end`."""

    form: str
    end: int
    space: bool
    words: list[tuple[str, str]] = dataclasses.field(default_factory=list)


def _conllu(path: str, group: Sequence[Numbered]) -> Sentence:
    """A sentence as it was written: the words of a multiword token end together unless their forms make it up."""
    text, stops, words = "", [], []
    for surface in _surfaces(path, group):
        forms = [form for form, _ in surface.words]
        if "".join(forms) == surface.form:
            stops += (len(text) + np.cumsum([len(form) for form in forms])).tolist()
        else:
            stops += [len(text) + len(surface.form)] * len(forms)
        text += surface.form + " " * surface.space
        words += surface.words
    if not words:
        raise _refusal(path, f"line {group[0][0]} begins a sentence without words", "remove it")
    types, labels = zip(*words, strict=True)
    return Sentence(text.rstrip(" "), tuple(stops), types, labels)


def _surfaces(path: str, group: Sequence[Numbered]) -> list[_Surface]:
    found = [_Surface("", 0, False)]
    for number, line in group:
        if line.startswith("#"):
            continue
        cells = line.split("\t")
        if len(cells) != COLUMNS:
            raise _refusal(path, f"line {number} has {len(cells)} columns", f"CoNLL-U has {COLUMNS}, between tabs")
        name, form, label = cells[0], cells[1].strip(), cells[3].strip()
        if not _ID.fullmatch(name):
            raise _refusal(path, f"line {number} has the ID {name!r}", "CoNLL-U writes 1, 1-2 or 1.1")
        if not form:
            raise _refusal(path, f"line {number} has no FORM", "give each word one")
        if "." in name:  # an empty node: nothing of the text
            continue
        last = int(name.rpartition("-")[2])
        if last > found[-1].end:
            found.append(_Surface(form, last, "SpaceAfter=No" not in cells[9].split("|")))
        if "-" in name:
            continue
        if label in ("", "_"):
            raise _refusal(path, f"line {number} has no UPOS", "label every word")
        found[-1].words.append((form, label))
    return found[1:]


def _columns(path: str, lines: Sequence[Numbered]) -> Labeled:
    """Tagged words or labeled sentences, whichever the file is built like. Raises InputError where it is in doubt."""
    groups = list(_groups(lines))
    rows = [(number, line.split("\t")) for group in groups for number, line in group]
    for number, cells in rows:
        if not 2 <= len(cells) <= 3:
            raise _refusal(
                path,
                f"line {number} has {len(cells)} column{'s' * (len(cells) != 1)}",
                "give word TAB label, with a blank line after each sentence, or label TAB sentence",
            )
        if not all(cell.strip() for cell in cells[:2]):
            raise _refusal(path, f"line {number} has an empty column", "fill it or remove the line")
    spaced = next((number for number, cells in rows if " " in cells[0].strip() or " " in cells[1].strip()), None)
    if len(groups) > 1:
        if spaced is not None:
            raise _refusal(
                path,
                f"line {spaced} has a space within a column, as in labeled sentences, and the file blank lines, as "
                "between tagged words",
                "remove the one or the other",
            )
        return Labeled(path, tuple(map(_tagged, groups)), of_words=True)
    wide = next((number for number, cells in rows if len(cells) > 2), None)
    if wide is not None:
        raise _refusal(path, f"line {wide} has 3 columns", "label TAB sentence has 2; tagged words need blank lines")
    labels, texts = {cells[0] for _, cells in rows}, {cells[1] for _, cells in rows}
    if rows and len(labels) >= len(texts):
        raise _refusal(
            path,
            f"it has no blank lines and {len(labels)} labels for {len(texts)} texts in its two columns",
            "write label TAB sentence, or put blank lines between sentences of word TAB label",
        )
    return Labeled(path, tuple(_whole(*cells) for _, cells in rows), of_words=False)


def _tagged(group: Sequence[Numbered]) -> Sentence:
    """The words of a sentence with a space between any two."""
    cells = [line.split("\t") for _, line in group]
    words, labels = [row[0].strip() for row in cells], [row[1].strip() for row in cells]
    stops = np.cumsum([len(word) + 1 for word in words]) - 1
    return Sentence(" ".join(words), tuple(stops.tolist()), tuple(words), tuple(labels))


def _whole(label: str, text: str) -> Sentence:
    text = text.strip()
    return Sentence(text, (len(text),), (first_word(text),), (label.strip(),))


def _groups(lines: Sequence[Numbered]) -> Iterator[list[Numbered]]:
    """The lines between blank ones."""
    group: list[Numbered] = []
    for number, line in [*lines, (0, "")]:
        if line.strip():
            group.append((number, line))
        elif group:
            yield group
            group = []


def _lines(path: str) -> list[Numbered]:
    try:
        data = Path(path).expanduser().read_bytes()
        data = gzip.decompress(data) if path.endswith(".gz") else data
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _refusal(path, f"line {line} is not UTF-8", "convert it to UTF-8") from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise _refusal(path, "it is no whole gzip file", "fetch it again, or rename it") from None
    except FileNotFoundError:
        raise _refusal(path, "no such file", "name one") from None
    except OSError as error:
        raise _refusal(path, f"cannot be read ({error.strerror})", "name a readable file") from None
    return [(number, line.removesuffix("\r")) for number, line in enumerate(text.split("\n"), 1)]


def _refusal(path: str, what: str, remedy: str) -> InputError:
    return InputError(f"--probe={path}: {what}; {remedy}.")
