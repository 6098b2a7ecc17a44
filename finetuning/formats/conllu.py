"""CoNLL-U, the format of Universal Dependencies: ten columns, tokens of several words, words that no text has."""

import re
from pathlib import Path

from batch import InputError
from finetuning.examples import Tagged
from finetuning.formats.conll import blank_parted
from finetuning.formats.labels import Known, checked
from finetuning.formats.lines import at

COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_FORM, _MISC = COLUMNS.index("FORM"), COLUMNS.index("MISC")
_SENTENCE = re.compile(r"# *sent_id *= *(.*\S)")
_WORD, _RANGE, _EMPTY = (re.compile(each) for each in (r"[0-9]{1,9}", r"([0-9]{1,9})-([0-9]{1,9})", r"[0-9]+\.[0-9]+"))


def read_conllu(path: Path, tag: str | None = "UPOS", known: Known = None) -> list[Tagged]:
    """The sentences, by their `sent_id`, with a tag from one of `COLUMNS` for each syntactic word.

    Words are those of the tree: of the token `du`, lines 1-2, they are `de` and `le`, with no space between and after
    the second what the line of the token says. Nodes that are not in the text (8.1) are left out. `SpaceAfter=No`
    says that a word touches the next. Raises InputError, with the line, for a line that is not CoNLL-U, for numbers of
    words that do not go 1, 2, 3 and for a tag that is not known.
    """
    if tag is not None and tag not in COLUMNS:
        raise InputError(f"tag={tag}: CoNLL-U has the columns {', '.join(COLUMNS)}.")
    sentences = []
    for block in blank_parted(path):
        comments = [line for _, line in block if line.startswith("#")]
        rows = [(number, _cells(line, at(path, number))) for number, line in block if not line.startswith("#")]
        if words := _words(rows, path):
            name = next((found[1] for line in comments if (found := _SENTENCE.match(line))), str(len(sentences)))
            sentences.append(_sentence(name, words, tag, known, path))
    if not sentences:
        raise InputError(f"{path} holds no words; give a file that has some.")
    return sentences


def _cells(line: str, where: str) -> list[str]:
    cells = line.split("\t")
    if len(cells) != len(COLUMNS):
        raise InputError(f"{where} has {len(cells)} columns; CoNLL-U has {len(COLUMNS)}, parted by tabs.")
    if not cells[_FORM]:
        raise InputError(f"{where} has an empty word; write it, or remove the line.")
    return cells


def _words(rows: list[tuple[int, list[str]]], path: Path) -> list[tuple[int, list[str], bool]]:
    """The line and cells of each syntactic word, and whether a space follows it."""
    words: list[tuple[int, list[str], bool]] = []
    end, space = 0, True  # of the token of several words that was read last
    for number, cells in rows:
        identity, due = cells[0], len(words) + 1
        if _EMPTY.fullmatch(identity):
            continue
        follows = "SpaceAfter=No" not in cells[_MISC].split("|")
        if found := _RANGE.fullmatch(identity):
            if due <= end or int(found[1]) != due or int(found[2]) < due:
                raise InputError(f"{at(path, number)} has the words {identity} where word {due} is due; correct it.")
            end, space = int(found[2]), follows
        elif _WORD.fullmatch(identity) and int(identity) == due:
            words.append((number, cells, follows if due > end else space if due == end else False))
        else:
            raise InputError(f"{at(path, number)} has the number {identity!r} where word {due} is due; correct it.")
    if len(words) < end:
        raise InputError(f"{at(path, rows[-1][0])} ends a sentence before word {end} of its last token; correct it.")
    return words


def _sentence(name: str, words: list[tuple[int, list[str], bool]], tag: str | None, known: Known, path: Path) -> Tagged:
    forms = tuple(cells[_FORM] for _, cells, _ in words)
    spaced = tuple(follows for _, _, follows in words)
    if tag is None:
        return Tagged(name, forms, None, spaced)
    column = COLUMNS.index(tag)
    return Tagged(name, forms, tuple(checked(cells[column], known, at(path, line)) for line, cells, _ in words), spaced)
