"""Figures as SVG that can stand within a page: its own ids, its reader's colors and fonts, and nothing that acts."""

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from batch import InputError
from evaluation.figures import DPI
from report.characters import visible

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that figures are the same everywhere
    "svg.fonttype": "none",  # text stays text: searched, read aloud, and set in a font that has its characters
    "text.parse_math": False,  # a "$" in data is a dollar
    "axes.unicode_minus": False,
}
"""In which figures of the report are made and drawn."""

_WORDS = ("text", "tspan", "title", "desc")
_DRAWN = (*_WORDS, "svg", "g", "defs", "path", "use", "clipPath", "rect", "circle", "ellipse", "line", "polyline",
          "polygon", "image", "linearGradient", "radialGradient", "stop")  # fmt: skip
"""Elements that draw; of all others, scripts and style sheets among them, nothing is kept."""

_XLINK = "{http://www.w3.org/1999/xlink}"
_TARGET = re.compile(r"url\(#([^)]*)\)")
_COLORS = {
    "#000000": "currentColor",
    "#e5e5e5": "currentColor; stroke-opacity: 0.14",  # the grid
    "#555555": "currentColor; fill-opacity: 0.75",
    "#ffffff": "var(--paper, #fff)",
}
"""Of evaluation/figures.py, for paper that may be dark."""


def drawn(figure: Figure) -> tuple[str, bytes]:
    """A figure of matplotlib as the text of an SVG without a background, and as a PNG on white.

    Characters that matplotlib's font lacks, such as Chinese ones, are boxes in the PNG; a browser has them.
    """
    vector, raster = io.StringIO(), io.BytesIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(vector, format="svg", transparent=True)
        figure.savefig(raster, format="png", dpi=DPI, metadata={"Software": None})
    return vector.getvalue(), raster.getvalue()


def inline(text: str, name: str, title: str) -> str:
    """The SVG for use within a page, where `name` is no other figure's, and `title` is read where it cannot be seen.

    Raises InputError if the text is no SVG.
    """
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"pictures: {name} is not an SVG ({error}); draw it again.") from None
    if _local(root.tag) != "svg":
        raise InputError(f"pictures: {name} is not an SVG (it begins with another element); draw it again.")
    _clean(root)
    _rename(root, name)
    kept = {"viewBox": root.get("viewBox", "0 0 640 480"), "role": "img", "aria-label": title}
    root.attrib = {**kept, "fill": "currentColor", "stroke-linejoin": "round", "style": _size(root)}
    return ElementTree.tostring(root, encoding="unicode")


def standalone(svg: str) -> str:
    """An inline SVG as a file of its own."""
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)


def _size(root: ElementTree.Element) -> str:
    """As wide as it was drawn where there is room, and never so narrow that its words cannot be read."""
    given = re.fullmatch(r"([0-9.]+)(pt|px)?", root.get("width", ""))
    points = float(given[1]) if given else float(root.get("viewBox", "0 0 640 480").split()[2])
    width = points * (4 / 3 if given and given[2] == "pt" else 1)
    return f"width: {width:.0f}px; min-width: {min(width, max(320, 0.7 * width)):.0f}px"


def _rename(root: ElementTree.Element, name: str) -> None:
    """Numbers the ids: the same in every run, and no other figure's. What refers to nothing refers to nothing still."""
    ids = (element.attrib["id"] for element in root.iter() if "id" in element.attrib)
    renamed = {old: f"{name}-{number}" for number, old in enumerate(dict.fromkeys(ids), start=1)}
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, renamed[value])
            elif key == "href" and value.startswith("#"):
                element.set(key, f"#{renamed.get(value[1:], '')}")
            elif "url(#" in value:
                element.set(key, _TARGET.sub(lambda found: f"url(#{renamed.get(found[1], '')})", value))


def _clean(element: ElementTree.Element) -> None:
    """Leaves what draws, in place."""
    element.tag = _local(element.tag)
    element.attrib = dict(_attributes(element))
    words = element.tag in _WORDS
    element.text = visible(element.text) if words and element.text else None
    for child in list(element):
        if _local(child.tag) not in _DRAWN:
            element.remove(child)
            continue
        _clean(child)
        child.tail = (visible(child.tail) if child.tail else None) if words else "\n"


def _attributes(element: ElementTree.Element) -> Iterator[tuple[str, str]]:
    """The attributes that draw."""
    for key, value in element.attrib.items():
        key = "href" if key == f"{_XLINK}href" else key
        acts = key.startswith(("on", "{")) or re.search(r"url\((?!#)", value)
        leads_away = key == "href" and not value.startswith(("#", "data:image/png"))
        if not acts and not leads_away:
            yield key, value if key in ("id", "href") else _recolored(value)


def _recolored(value: str) -> str:
    value = re.sub(r"(font: [^;]*?px) [^;]*", r"\1 sans-serif", value)
    return re.sub("#[0-9a-f]{6}", lambda found: _COLORS.get(found[0], found[0]), value)


def _local(tag: object) -> str:
    """The name of an element without its namespace; "" of a comment."""
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""
