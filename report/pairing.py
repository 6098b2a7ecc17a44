"""What the arms have in common by construction: the stream of tokens, and initial values of parameters."""

from collections.abc import Iterator

from ablation.results import Pairing, Results
from report.amounts import count, listed
from report.document import Block, Heading, Items, Paragraph, Section, Span, Table, Words

_HEAD = ("arm", "other arm", "parameters shared", "of the arm's", "of the other's")


def section(results: Results) -> Section | None:
    pairing = results.pairing
    if not pairing.streams and not pairing.parameters and not any(pairing.own.values()):
        return None
    return Section("Pairing", tuple(_blocks(pairing)))


def _blocks(pairing: Pairing) -> Iterator[Block]:
    if pairing.streams:
        yield Paragraph(f"Streams, by the digests of {count(pairing.stream_steps)} steps:")
        yield Items(tuple(map(_stream, pairing.streams)))
    if pairing.parameters:
        yield Paragraph("Parameters that begin with the same values, by path and shape:")
        rows = tuple((one, other, *map(count, numbers)) for one, other, *numbers in pairing.parameters)
        yield Table("Shared initial parameters", _HEAD, rows, left=("arm", "other arm"))
    own = {arm: paths for arm, paths in pairing.own.items() if paths}
    if own:
        yield Heading("Parameters that not all arms have with these initial values")
        yield Items(tuple([Span(arm, "strong"), ": ", *_paths(paths)] for arm, paths in own.items()))


def _stream(arms: tuple[str, ...]) -> Words:
    if len(arms) == 1:
        return f"{arms[0]} reads a stream of its own."
    return f"{listed(arms)} read the same tokens at every step."


def _paths(paths: tuple[str, ...]) -> Iterator[str | Span]:
    for i, path in enumerate(paths):
        yield from (", ", Span(path, "code")) if i else (Span(path, "code"),)
