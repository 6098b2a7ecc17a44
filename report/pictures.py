"""Pictures of a report: figures that are drawn for it, and those that tasks of evaluate.py have left."""

import re
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from batch import InputError
from report.characters import visible
from report.document import Picture
from report.svg import drawn, inline


def picture(name: str, caption: str, figure: Figure) -> Picture:
    """A figure that was drawn for the report; `name` is no other's."""
    svg, png = drawn(figure)
    return Picture(name, caption, inline(svg, name, visible(caption)), png)


def given(number: int, name: str, caption: str, pictures: Mapping[str, Path | str]) -> Picture:
    """The SVG of a task, as text or as a file; `number` counts those of the report.

    Raises InputError where there is none.
    """
    if name not in pictures:
        raise InputError(
            f"pictures: has no {visible(name)}, which a section shows; give it, or leave it out of figures."
        )
    found = pictures[name]
    svg = found.read_text(encoding="utf-8") if isinstance(found, Path) else found
    # A name comes from data, and a file must not leave its folder by it.
    file = f"task-{number}-{re.sub('[^A-Za-z0-9]+', '-', name).strip('-').lower()[:40]}".rstrip("-")
    return Picture(file, caption, inline(svg, file, visible(caption)))
