"""A report before it is a page: sections of paragraphs, tables and pictures, which HTML and Markdown both render."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

Role = Literal["plain", "strong", "code", "token", "blank", "PASS", "FAIL", "INCONCLUSIVE", "NO VERDICT"]
"""How a piece of text is set; a role never holds what its text does not say, as color alone is not read by all."""


@dataclasses.dataclass(frozen=True)
class Span:
    """A piece of text in a role."""

    text: str
    role: Role = "plain"


@dataclasses.dataclass(frozen=True)
class Bar:
    """A share between 0 and 1 as a length; the number stands beside it as text."""

    share: float


Words = str | Sequence[str | Span | Bar]
"""A text, or its pieces in turn."""


@dataclasses.dataclass(frozen=True)
class Paragraph:
    words: Words


@dataclasses.dataclass(frozen=True)
class Items:
    """A list without an order."""

    items: tuple[Words, ...]


@dataclasses.dataclass(frozen=True)
class Heading:
    """Of a part of a section."""

    words: str


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows below a head. The first column names the row; columns of numbers are aligned right."""

    caption: str  # for readers who do not see the page
    head: tuple[str, ...]
    rows: tuple[tuple[Words, ...], ...]
    left: tuple[str, ...]  # heads of the columns of text


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure: an SVG that can stand within a page, and the same as a PNG where it was drawn here."""

    name: str  # of its files, without the extension
    caption: str  # what it shows, read instead of it too
    svg: str
    png: bytes | None = None


@dataclasses.dataclass(frozen=True)
class Code:
    """Lines that are copied as they are."""

    text: str


Block = Paragraph | Items | Heading | Table | Picture | Code


@dataclasses.dataclass(frozen=True)
class Section:
    title: str
    blocks: tuple[Block, ...]


@dataclasses.dataclass(frozen=True)
class Document:
    """The whole report: what was asked, how, what a reader must know first, and the sections."""

    title: str
    question: str
    facts: tuple[str, ...]
    notes: tuple[str, ...]
    sections: tuple[Section, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(block for own in self.sections for block in own.blocks if isinstance(block, Picture))


def pieces(words: Words) -> list[Span | Bar]:
    """The pieces of a text, each in its role."""
    if isinstance(words, str):
        return [Span(words)]
    return [Span(one) if isinstance(one, str) else one for one in words]
