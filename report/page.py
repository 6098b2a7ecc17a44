"""A report as one page of HTML that needs nothing else: no network, no script, no font."""

import html
from collections.abc import Iterator

from report.characters import visible
from report.document import Bar, Block, Code, Document, Heading, Items, Paragraph, Picture, Span, Table, Words, pieces
from report.style import CSS

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What the page may load or run: nothing. A browser keeps to it even where escaping had a hole."""

_TAGS = {"strong": "strong", "code": "code", "blank": "mark"}


def render(document: Document) -> str:
    """The page as text."""
    return "\n".join(_lines(document)) + "\n"


def escaped(text: str) -> str:
    """The text as HTML, for content and attributes alike."""
    return html.escape(visible(text), quote=True)


def _lines(document: Document) -> Iterator[str]:
    title = escaped(document.title)
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="color-scheme" content="light dark">'
    yield f"<title>{title}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>"
    yield f'<p class="question">{escaped(document.question)}</p>'
    yield f'<ul class="facts">{"".join(f"<li>{escaped(fact)}</li>" for fact in document.facts)}</ul>'
    if document.notes:
        yield f'<div class="notes">{_block(Items(document.notes))}</div>'
    links = (f'<a href="#part-{i}">{escaped(own.title)}</a>' for i, own in enumerate(document.sections, start=1))
    yield f'<nav aria-label="Contents">{" ".join(links)}</nav>\n</header>\n<main>'
    for i, section in enumerate(document.sections, start=1):
        yield f'<section id="part-{i}">\n<h2>{escaped(section.title)}</h2>'
        yield from map(_block, section.blocks)
        yield "</section>"
    yield "</main>\n</body>\n</html>"


def _block(block: Block) -> str:
    match block:
        case Paragraph(words):
            return f"<p>{_words(words)}</p>"
        case Items(items):
            return f"<ul>{''.join(f'<li>{_words(item)}</li>' for item in items)}</ul>"
        case Heading(words):
            return f"<h3>{_words(words)}</h3>"
        case Table():
            return _table(block)
        case Picture(_, caption, svg):
            return (
                f'<figure>\n<div class="scroll" tabindex="0" role="group" aria-label="{escaped(caption)}">{svg}</div>\n'
                f"<figcaption>{escaped(caption)}</figcaption>\n</figure>"
            )
        case Code(text):
            lines = "\n".join(escaped(line) for line in text.split("\n"))
            return f'<pre class="scroll" tabindex="0"><code>{lines}</code></pre>'


def _table(table: Table) -> str:
    """A table in a box of its own that scrolls, so that the page does not."""
    align = ["" if name in table.left else ' class="n"' for name in table.head]
    head = "".join(f'<th scope="col"{own}>{escaped(name)}</th>' for name, own in zip(table.head, align, strict=True))
    lines = [
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escaped(table.caption)}">\n<table>',
        f"<thead><tr>{head}</tr></thead>\n<tbody>",
        *(_row(row, align) for row in table.rows),
        "</tbody>\n</table>\n</div>",
    ]
    return "\n".join(lines)


def _row(row: tuple[Words, ...], align: list[str]) -> str:
    first, *others = zip(row, align, strict=True)
    cells = "".join(f"<td{own}>{_words(cell)}</td>" for cell, own in others)
    return f'<tr><th scope="row"{first[1]}>{_words(first[0])}</th>{cells}</tr>'


def _words(words: Words) -> str:
    return "".join(_bar(one) if isinstance(one, Bar) else _span(one) for one in pieces(words))


def _span(span: Span) -> str:
    text = escaped(span.text)
    if span.role == "plain":
        return text
    if span.role in _TAGS:
        return f"<{_TAGS[span.role]}>{text}</{_TAGS[span.role]}>"
    kind = "token" if span.role == "token" else f"badge {span.role.lower().replace(' ', '-')}"
    return f'<span class="{kind}">{text}</span>'


def _bar(bar: Bar) -> str:
    width = 100 * min(max(bar.share, 0.0), 1.0) if bar.share == bar.share else 0.0
    return f'<span class="bar" aria-hidden="true"><i style="width:{width:.1f}%"></i></span>'
