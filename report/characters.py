"""Text that comes from data, made visible: none of its characters may act on the page."""

import unicodedata

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_JOINERS = "\u200c\u200d"  # of letters in Persian and Hindi, and of emoji


def visible(text: str) -> str:
    r"""The text with controls, lone surrogates and marks of direction as escapes: a line break as \n, NUL as \u{0}."""
    return "".join(map(_visible, text))


def label(text: str, most: int = 24) -> str:
    """The same for figures, of at most so many characters."""
    shown = visible(text)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def width(text: str) -> int:
    """Letters that a text is wide: a Chinese character is as wide as two."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def _visible(one: str) -> str:
    hidden = unicodedata.category(one) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") and one not in _JOINERS
    return _NAMED.get(one, f"\\u{{{ord(one):x}}}") if hidden else one
