"""A report as Markdown that a terminal shows as it is, and that renders as the page does."""

import re
from collections.abc import Iterator

from evaluation.tables import markdown
from report.characters import visible
from report.document import Bar, Block, Code, Document, Heading, Items, Paragraph, Picture, Span, Table, Words, pieces

_SPECIAL = re.compile(
    r"[\\`*\[\]|~$&]"
    r"|<(?=\S)"  # a tag or an address; a sign between spaces stays readable
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis; inside a word it is none
    r"|:(?=//)|(?<=www)\."  # addresses that would become links of themselves
)
_OPENING = re.compile(r"\s*(?:([#>+=-])|(\d+)([.)]))")
"""What begins a heading, a quotation, a list or a rule at the start of a block."""

_WIDEST = 8  # characters of a full bar
_EIGHTHS = "▏▎▍▌▋▊▉█"


def render(document: Document) -> str:
    """The report as text; figures are links to `figures/`."""
    return "\n\n".join(_parts(document)) + "\n"


def escaped(text: str) -> str:
    """The text with a backslash before whatever Markdown would read as more than a character."""
    return _SPECIAL.sub(r"\\\g<0>", visible(text))


def _opened(text: str) -> str:
    """Escaped text as the start of a block, which some marks would make another block."""
    found = _OPENING.match(text)
    return text if found is None else f"{found[2] or ''}\\{found[1] or found[3]}{text[found.end() :]}"


def _parts(document: Document) -> Iterator[str]:
    yield f"# {escaped(document.title)}"
    yield _opened(escaped(document.question))
    yield _opened(escaped(" · ".join(document.facts)))
    if document.notes:
        yield _block(Items(document.notes))
    for section in document.sections:
        yield f"## {escaped(section.title)}"
        yield from map(_block, section.blocks)


def _block(block: Block) -> str:
    match block:
        case Paragraph(words):
            return _opened(_words(words))
        case Items(items):
            return "\n".join(f"- {_opened(_words(item))}" for item in items)
        case Heading(words):
            return f"### {_words(words)}"
        case Table():
            return _table(block)
        case Picture(name, caption, _, png):
            file, words = f"figures/{name}.{'svg' if png is None else 'png'}", escaped(caption)
            return f"![{words}]({file})\n\n{_opened(words)}"
        case Code(text):
            return _fenced(text)


def _table(table: Table) -> str:
    # A rule of one column needs three characters.
    head = [escaped(name).ljust(3) for name in table.head]
    left = [escaped(name).ljust(3) for name in table.left]
    return markdown(head, [[_words(cell) for cell in row] for row in table.rows], left)


def _fenced(text: str) -> str:
    lines = [visible(line) for line in text.split("\n")]
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return "\n".join([fence, *lines, fence])


def _words(words: Words) -> str:
    return "".join(_bar(one) if isinstance(one, Bar) else _span(one) for one in pieces(words))


def _span(span: Span) -> str:
    text = escaped(span.text)
    if span.role == "blank":
        return f"\\[{text}\\]"
    if span.role in ("plain", "code", "token") or not text.strip():
        return text
    return f"**{text.strip()}**"


def _bar(bar: Bar) -> str:
    eighths = round(8 * _WIDEST * min(max(bar.share, 0.0), 1.0)) if bar.share == bar.share else 0
    full, rest = divmod(eighths, 8)
    return "".join([" " if eighths else "", "█" * full, _EIGHTHS[rest - 1] if rest else ""])
