"""Word boundaries between characters: where whole-word masking may cut."""

import functools
import unicodedata

import numpy as np
from jaxtyping import Bool, Int, UInt8

LETTER, SPACE, ALONE = 0, 1, 2
"""Letters, digits and marks join; a space opens a word; Chinese characters, punctuation and line ends stand alone."""

_CHINESE = (
    (0x2E80, 0x2FDF),  # radicals
    (0x3040, 0x30FF),  # kana, which no space separates either
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_CODE_POINTS = 0x110000


@functools.cache
def character_kinds() -> UInt8[np.ndarray, " code_points"]:
    """LETTER, SPACE or ALONE for every code point."""
    kinds = np.zeros(_CODE_POINTS, np.uint8)
    for point in range(0x20000):  # beyond: ideographs, tags and private use
        char = chr(point)
        category = unicodedata.category(char)
        if category == "Zs":
            kinds[point] = SPACE
        elif category[0] in "PSZ" or category == "Cc":
            kinds[point] = ALONE
    for first, last in _CHINESE:
        kinds[first : last + 1] = ALONE
    return kinds


def edges_of(text: str) -> tuple[bool, bool]:
    """Whether a word starts before the text, and whether one starts after it."""
    kinds = character_kinds()
    return bool(kinds[ord(text[0])] != LETTER), bool(kinds[ord(text[-1])] == ALONE)


def edges_of_bytes(values: Int[np.ndarray, " n"]) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The same for each byte of UTF-8 text, where -1 is something else: the bytes of one character stay together."""
    padded = np.concatenate([values, np.full(3, -1, values.dtype)])
    lead = np.flatnonzero((values >= 0) & ((values & 0xC0) != 0x80))
    first = values[lead].astype(np.int64)
    length = np.select([first < 0xC0, first < 0xE0, first < 0xF0], [1, 2, 3], 4)
    point = np.where(length == 1, first, first & (0xFF >> (length + 1)))
    for i in (1, 2, 3):
        more = length > i
        point = np.where(more, point << 6 | (padded[lead + i] & 0x3F), point)
    kind = character_kinds()[np.minimum(point, _CODE_POINTS - 1)]
    opens, closes = np.zeros(len(values), bool), np.zeros(len(padded), bool)
    opens[lead] = kind != LETTER
    closes[lead + length - 1] = kind == ALONE
    return opens, closes[: len(values)]
