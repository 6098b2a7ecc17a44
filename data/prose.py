"""The English prose of a docstring: what is left without examples, code, tables, lists of names and inline markup."""

import itertools
import re
from collections.abc import Iterator

_CODE_TITLE = re.compile(
    r"^(see also|references|examples?|example usages?|usage|methods|routine listings?)\s*:?$", re.I
)
_LIST_TITLE = re.compile(
    r"^(args|arguments|(other )?parameters|params|keyword (args|arguments)|kwargs|returns?|yields?|raises?|warns|"
    r"attributes|members|fields)\s*:?$",
    re.I,
)
_UNDERLINE = re.compile(r"^([=\-~^\"'`*#+.])\1{2,}$")
_NAMED = re.compile(r"^\s*[`*]*\w[\w.*`, ]{0,40}(\([^)]*\))?:\s+")  # "name (type): what it is"
_TYPED = re.compile(r"^\s*([`*]*\w[\w.*`, ]* : |[`*]*\w+[`*]*$)")  # "name : type", described below
_BULLET = re.compile(r"^([*\-+•]|\(?\d{1,2}[.)]|\(?[a-z][.)])\s+")
_ROLE = re.compile(r":(?:[\w+-]+:)?[\w+-]+:`~?([^`]*?)(?:\s*<[^`>]*>)?`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]*>`_{1,2}")
_FOOTNOTE = re.compile(r"\s?\[[\w-]+\]_")
_EMPHASIS = re.compile(r"(?<!\w)(\*\*|\*|``|`)(?=\S)(.+?)(?<=\S)\1(?!\w)")
_BEGINS = re.compile(r"[(\"'“]*[A-Za-z]")
_ENDS = re.compile(r"[.!?:][)\"'”]*$")
_CODE = re.compile(r">>>|[\\{}|]|==|::|\]_|`_")
_GENERATED = re.compile(r"\bauto(matically |-| )?generated\b|\bgenerated from '", re.I)
_WORD = re.compile(r"[(\"'“]*[A-Za-z][A-Za-z'’-]*[.,;:!?)\"'”]*")


def prose(text: str) -> list[str]:
    """The paragraphs of a docstring that read as English, each unwrapped to one line."""
    kept: list[str] = []
    for title, lines in _sections(text):
        if _CODE_TITLE.match(title):
            continue
        if _LIST_TITLE.match(title):
            kept.extend(line for line in _descriptions(lines) if _is_prose(line, least_words=8))
        else:
            kept.extend(line for line in _paragraphs(lines) if _is_prose(line, least_words=4))
    return kept


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """Titles and lines of the sections, whether underlined (reST) or indented below "Title:" (Google)."""
    title, lines, outer = "", [], -1
    rows = text.expandtabs().splitlines()
    for row, below in itertools.pairwise([*rows, ""]):
        is_title = row.rstrip().endswith(":") and _is_known(row.strip())
        underlined = bool(row.strip()) and bool(_UNDERLINE.match(below.strip()))
        ended = outer >= 0 and row.strip() and _indent(row) <= outer
        if underlined or is_title or ended:
            yield title, lines
            title, lines = (row.strip(), []) if underlined or is_title else ("", [row])
            outer = _indent(row) if is_title and not underlined else -1
        elif not _UNDERLINE.match(row.strip()):
            lines.append(row)
    yield title, lines


def _is_known(title: str) -> bool:
    return bool(_CODE_TITLE.match(title) or _LIST_TITLE.match(title))


def _descriptions(lines: list[str]) -> Iterator[str]:
    """What a list of parameters says about each of them, without its name and type."""
    outer = min((_indent(line) for line in lines if line.strip()), default=0)
    entry: list[str] = []
    for line in [*lines, "." * (outer + 1)]:
        if not line.strip() or _indent(line) > outer:
            entry.append(line)
            continue
        yield from _paragraphs(entry)
        named = _NAMED.match(line)
        entry = [] if _TYPED.match(line) else [" " * (outer + 1) + line[named.end() if named else 0 :].strip()]


def _paragraphs(lines: list[str]) -> Iterator[str]:
    code_indent: int | None = None
    for block in _blocks(lines):
        indent = _indent(block[0])
        if code_indent is not None and indent > code_indent:
            continue
        introduces_code = block[-1].endswith("::") or block[0].lstrip().startswith(".. ")
        code_indent = indent if introduces_code else None
        yield from _unwrapped(block)


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    block: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            block.append(line.rstrip())
        elif block:
            yield block
            block = []


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _unwrapped(block: list[str]) -> Iterator[str]:
    """A block's lines as one; each item of a bulleted list is a paragraph of its own."""
    start = 0
    for end in range(1, len(block) + 1):
        if end == len(block) or _BULLET.match(block[end].strip()):
            line = _BULLET.sub("", " ".join(line.strip() for line in block[start:end]))
            yield " ".join(_plain(line).split())
            start = end


def _plain(line: str) -> str:
    """The line without the inline markup of reST and Markdown."""
    line = _FOOTNOTE.sub("", _LINK.sub(r"\1", _ROLE.sub(r"\1", line)))
    line = _EMPHASIS.sub(r"\2", line)
    return line[:-1] if line.endswith("::") else line


def _is_prose(line: str, least_words: int) -> bool:
    words = line.split()
    if len(words) < least_words or not _BEGINS.match(line) or not _ENDS.search(line):
        return False
    if _CODE.search(line) or _GENERATED.search(line):
        return False
    return sum(_WORD.fullmatch(word) is not None for word in words) >= 0.75 * len(words)
