"""The report of an ablation in a folder: a page, the same as Markdown, its figures, and the numbers."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import matplotlib

from ablation.results import Results, to_json
from report import (
    budgets,
    curves,
    effects,
    markdown,
    masks,
    origin,
    page,
    pairing,
    predictions,
    shown,
    tuning,
    verdicts,
    yardsticks,
)
from report.document import Document, Section
from report.svg import STYLE, standalone


def write(results: Results, folder: Path, pictures: Mapping[str, Path | str]) -> None:
    """Writes `report.html`, `report.md`, `results.json` and `figures/` into the folder, each file whole or not at all.

    `pictures` holds the SVGs, as text or as files, of the figures that `results.shown` names. The page needs nothing
    beside it. The same results give the same bytes. Raises InputError where a picture is missing or is no SVG.
    """
    report = document(results, pictures)
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for picture in report.pictures:
        _replace(figures / f"{picture.name}.svg", standalone(picture.svg).encode())
        if picture.png is not None:
            _replace(figures / f"{picture.name}.png", picture.png)
    # A lone surrogate is no UTF-8, but is JSON as an escape.
    _replace(folder / "results.json", to_json(results).encode("utf-8", "backslashreplace"))
    _replace(folder / "report.md", markdown.render(report).encode())
    _replace(folder / "report.html", page.render(report).encode())


def document(results: Results, pictures: Mapping[str, Path | str]) -> Document:
    """The report of the results: verdicts first; sections without content are left out."""
    with matplotlib.rc_context(STYLE):
        sections = tuple(_sections(results, pictures))
    return Document(results.name, results.question, tuple(_facts(results)), results.notes, sections)


def _sections(results: Results, pictures: Mapping[str, Path | str]) -> Iterator[Section]:
    for part in (verdicts, yardsticks, effects, curves, budgets, tuning):
        if (section := part.section(results)) is not None:
            yield section
    yield from shown.sections(results, pictures)
    for part in (predictions, masks, pairing):
        if (section := part.section(results)) is not None:
            yield section
    yield origin.configuration(results)
    yield origin.environment(results)


def _facts(results: Results) -> Iterator[str]:
    yield f"mode: {results.mode}"
    yield f"arms: {', '.join(arm.name for arm in results.arms)}"
    yield f"{'seed' if len(results.seeds) == 1 else 'seeds'}: {', '.join(map(str, results.seeds))}"
    yield f"budgets matched by: {', '.join(results.matchings)}"
    yield results.origin.date
    yield f"commit: {results.origin.commit}" if results.origin.commit else "not in a repository"


def _replace(path: Path, content: bytes) -> None:
    """Writes a file so that whoever looks, or is killed, finds the old one or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
