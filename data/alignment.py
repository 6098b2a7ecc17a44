"""Which characters of a text each of its tokens stands for."""

import codecs
import dataclasses
import difflib
import functools
import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from data.released import ReleasedTokenizer
from data.tokenizer import AnyTokenizer

_UNSPOKEN = "\ufffd"


@dataclasses.dataclass(frozen=True, eq=False)
class Located:
    """The tokens of a text, without specials, and the characters [first, stop) of the text that each stands for.

    Neither `first` nor `stop` ever goes back from token to token. Tokens share a character where it takes several of
    them, as bytes do. A space is its token's. Spaces, and what a tokenizer drops, may be nobody's.
    """

    text: str
    tokens: Int[np.ndarray, " T"]
    characters: Int[np.ndarray, "T 2"]


def locate(tokenizer: AnyTokenizer, texts: Sequence[str]) -> list[Located]:
    """Each text as the tokenizer writes it.

    Exact for a lossless tokenizer and for those of the package `tokenizers`, which follow each character through
    their clean-up. XLNet's is aligned by the letters that it keeps (`last_characters`), and an unknown token stands
    for all between its neighbors. A combining mark that a clean-up drops stays with the letter before it.
    """
    different = list(dict.fromkeys(texts))
    rows = tokenizer.encode_many(different)
    known = tokenizer.locate(different) if isinstance(tokenizer, ReleasedTokenizer) and not tokenizer.lossless else None
    pieces, found = tokenizer.pieces, {}
    for i, (text, tokens) in enumerate(zip(different, rows, strict=True)):
        characters = known[i] if known else _by_letters([pieces[token] for token in tokens.tolist()], text)
        found[text] = Located(text, tokens, characters if tokenizer.lossless else _with_marks(characters, text))
    return [found[text] for text in texts]


def last_characters(pieces: Sequence[bytes], text: str) -> Int[np.ndarray, " T"]:
    """The character of the text at which each token ends; it never goes back from token to token.

    Exactly where the pieces spell the text. A tokenizer that loses text keeps most of its letters, but for their case
    and accents: by them its pieces are aligned with the text, and what has no counterpart lies between what has.
    A token without a letter, such as a space of its own, ends where the next one begins.
    """
    sizes, places = _letters_of(pieces, text)
    if not len(places):
        return np.zeros(len(pieces), np.int64)
    ends = np.cumsum(sizes)
    last = np.minimum(np.maximum(ends - 1, ends - sizes), ends[-1] - 1)
    return places[last]


def _by_letters(pieces: Sequence[bytes], text: str) -> Int[np.ndarray, "T 2"]:
    """The characters of each token: from that of its first letter to that of its last one.

    A token without a letter has none; an unknown one has all between the letters of its neighbors but outer spaces.
    """
    sizes, places = _letters_of(pieces, text)
    if not len(places):
        return np.zeros((len(pieces), 2), np.int64)
    ends = np.cumsum(sizes)
    first = np.append(places, places[-1] + 1)[ends - sizes]
    stop = np.where(sizes > 0, places[ends - 1] + 1, first)
    spoken = [i for i, piece in enumerate(pieces) if piece and sizes[i]]
    for i in (i for i, piece in enumerate(pieces) if not piece):
        after = np.searchsorted(spoken, i)
        gap = text[: first[spoken[after]] if after < len(spoken) else None]
        begin = int(stop[spoken[after - 1]]) if after else 0
        first[i] = begin + len(gap[begin:]) - len(gap[begin:].lstrip())
        stop[i] = max(len(gap.rstrip()), first[i])
    return np.stack([np.minimum.accumulate(first[::-1])[::-1], np.maximum.accumulate(stop)], axis=1)


def _with_marks(characters: Int[np.ndarray, "T 2"], text: str) -> Int[np.ndarray, "T 2"]:
    """With each token the combining marks that follow it and are no other token's."""
    stops = characters[:, 1].copy()
    limits = np.append(characters[:, 0], len(text))[1:]
    for i, limit in enumerate(limits.tolist()):
        while 0 < stops[i] < limit and unicodedata.combining(text[stops[i]]):
            stops[i] += 1
    return np.stack([characters[:, 0], np.maximum.accumulate(stops)], axis=1)


def _letters_of(pieces: Sequence[bytes], text: str) -> tuple[Int[np.ndarray, " T"], Int[np.ndarray, " n"]]:
    """How many letters each token says, and the character of the text that is each letter's counterpart.

    Letters are bytes where the pieces spell the text. None where one of the two has no letter.
    """
    if b"".join(pieces) == text.encode():
        sizes, units = [len(piece) for piece in pieces], [len(char.encode()) for char in text]
        places = np.arange(sum(sizes))
    else:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        said = ["".join(map(_letters, decoder.decode(piece) if piece else _UNSPOKEN)) for piece in pieces]
        written = list(map(_letters, text))
        sizes, units = list(map(len, said)), list(map(len, written))
        places = _counterparts("".join(said), "".join(written))
    if not sum(units):
        places = places[:0]
    return np.array(sizes, np.int64), np.repeat(np.arange(len(text)), units)[places]


def _counterparts(said: str, written: str) -> Int[np.ndarray, " n"]:
    """For each letter of `said` the index of its counterpart in `written`."""
    if said == written:
        return np.arange(len(said))
    matches = difflib.SequenceMatcher(None, said, written, autojunk=False).get_matching_blocks()
    pairs = [(a + i, b + i) for a, b, size in matches for i in range(size)]
    known, counterpart = zip((-1, -1), *pairs, (len(said), len(written)), strict=True)
    between = np.interp(np.arange(len(said)), known, counterpart).astype(np.int64)
    return np.clip(between, 0, max(len(written) - 1, 0))


@functools.cache
def _letters(char: str) -> str:
    """The character without case, accents and spaces: what a tokenizer that loses text still keeps."""
    plain = unicodedata.normalize("NFKD", char).casefold()
    return "".join(part for part in plain if not unicodedata.combining(part) and not part.isspace())
