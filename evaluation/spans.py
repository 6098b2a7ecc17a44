"""Questions about a text that are the same for all tokenizers: places in its bytes, drawn once and written down.

An item is a place of a document and the text around it. It is a function of the text, the block length and the
tokenizers compared, whose tokens nobody's item may cut; neither of the models nor of their order.
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from data.shards import Tokens
from data.words import edges_of_bytes

CHOICES = 32
"""Words to choose from."""

MOST = 1 << 22
"""Bytes of the text that items are drawn from at most, in whole documents."""

CUT, ALONE, FEW = "cut by a tokenizer", "without text on both sides", "among too few words alike"
"""Why an item is dropped: not whole tokens everywhere; no room for both sides; fewer than CHOICES to choose from."""


@dataclasses.dataclass(frozen=True)
class Item:
    """Bytes of a document: what is shown, and what is asked within it."""

    document: int
    context: tuple[int, int]
    target: tuple[int, int]
    choices: tuple[bytes, ...] = ()  # sorted, the target among them
    truth: int = 0  # which of them is the target
    places: tuple[tuple[int, int], ...] = ()  # bytes of the text where each of them stands as whole tokens


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Items, and how many more were drawn and dropped, for which reasons."""

    items: tuple[Item, ...]
    dropped: dict[str, int]

    @property
    def drawn(self) -> int:
        return len(self.items) + sum(self.dropped.values())

    @property
    def values(self) -> dict[str, Any]:
        """As JSON values, all that is needed to ask again: for each item its document, the bytes of its context and of
        its target, the words to choose from, and which of them it is.
        """
        return {"drawn": self.drawn, "dropped": self.dropped, "sha256": self.digest, "items": self._items}

    @property
    def digest(self) -> str:
        """SHA-256 of the items."""
        return hashlib.sha256(json.dumps(self._items).encode()).hexdigest()

    @property
    def _items(self) -> list[Any]:
        return [
            [each.document, *each.context, *each.target, [word.decode() for word in each.choices], each.truth]
            for each in self.items
        ]


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenized:
    """How one tokenizer writes a text: which of its tokens stand for bytes, and where these begin and end."""

    tokens: Tokens
    number: Int64[np.ndarray, " T"]
    bounds: Int64[np.ndarray, " T1"]

    def span(self, first: int, end: int) -> Int64[np.ndarray, " W"]:
        """The tokens of so many bytes, by their number in the text."""
        low, high = np.searchsorted(self.bounds, [first, end])
        return self.number[low:high]


def tokenized(tokens: Tokens) -> Tokenized:
    """The tokens of a split, which are not those of a lossy tokenizer: these have no bytes."""
    length = np.asarray(tokens.byte_length, np.int64)
    number = np.flatnonzero(length)
    return Tokenized(tokens, number, np.concatenate([[0], np.cumsum(length[number])]))


class Spans:
    """The places of a text that items are drawn from."""

    def __init__(self, text: bytes, texts: Sequence[Tokenized], length: int, seed: int = 0):
        """`text` are the bytes that every one of the `texts` spells, of which blocks hold `length` - 1 tokens."""
        bounds = np.asarray(texts[0].tokens.document_bytes)
        documents = max(1, int(np.searchsorted(bounds, MOST, side="right")) - 1)
        self._documents = bounds[: documents + 1]
        self._text, self._room, self._seed = text[: self._documents[-1]], length - 1, seed
        whole = np.zeros(len(text) + 1, np.int64)
        for each in texts:
            whole[each.bounds] += 1
        self._whole = np.flatnonzero(whole == len(texts))  # where a token begins for everybody
        self._number = np.stack([np.searchsorted(each.bounds, self._whole) for each in texts])

    def words(self, count: int) -> Drawn:
        """Words of the text: what stands between two of its own edges and holds a letter or a digit.

        As tokenizers have it, the space before a word belongs to it, and a Chinese character is a word.
        """
        opens, closes = edges_of_bytes(np.frombuffer(self._text, np.uint8).astype(np.int32))
        opens[1:] |= closes[:-1]
        opens[self._documents[:-1]] = True
        parts = itertools.pairwise([*np.flatnonzero(opens).tolist(), len(self._text)])
        words = [part for part in parts if any(map(str.isalnum, self._text[slice(*part)].decode()))]
        spans = np.array(words, np.int64).reshape(-1, 2)
        return self._drawn(spans, count, 0, self._alike(spans))

    def tokens(self, count: int) -> Drawn:
        """Tokens of the text, which are the same for everybody: any of them, so that none is told by being asked."""
        edges = self._whole[self._whole <= len(self._text)]
        return self._drawn(np.stack([edges[:-1], edges[1:]], axis=1), count, 1, lambda item: item)

    def _drawn(
        self, spans: Int64[np.ndarray, "U 2"], count: int, kind: int, complete: Callable[[Item], Item | None]
    ) -> Drawn:
        """The first `count` that can be asked, in a random order."""
        items: list[Item] = []
        dropped: dict[str, int] = dict.fromkeys((CUT, ALONE, FEW), 0)
        for first, end in spans[np.random.default_rng([self._seed, kind]).permutation(len(spans))].tolist():
            found = self._item(first, end)
            item = complete(found) if isinstance(found, Item) else None
            if item is not None:
                items.append(item)
            else:
                dropped[found if isinstance(found, str) else FEW] += 1
            if len(items) == count:
                break
        return Drawn(tuple(items), {reason: number for reason, number in dropped.items() if number})

    def _item(self, first: int, end: int) -> Item | str:
        """The bytes around a target that every block has room for; or why there are none.

        Half of the room that the target leaves is the left side's, and what a side cannot use is the other's.
        """
        if not self._kinds(np.array([[first, end]]))[0]:
            return CUT
        low, high = np.searchsorted(self._whole, [first, end]).tolist()
        document = int(np.searchsorted(self._documents, first, side="right")) - 1
        earliest, latest = np.searchsorted(self._whole, self._documents[document : document + 2]).tolist()
        room = self._room - (self._number[:, high] - self._number[:, low])
        left = self._back(low, room // 2, earliest)
        right = self._forth(high, room - (self._number[:, low] - self._number[:, left]), latest)
        left = self._back(low, room - (self._number[:, right] - self._number[:, high]), earliest)
        if (room < 0).any() or left >= low or right <= high:
            return ALONE
        start = int(self._documents[document])
        within = [int(self._whole[i]) - start for i in (left, right)]
        return Item(document, (within[0], within[1]), (first - start, end - start))

    def _back(self, place: int, room: Int64[np.ndarray, " texts"], earliest: int) -> int:
        """The farthest place before this one that is no more tokens away than anybody has room for."""
        ways = zip(self._number, room, strict=True)
        return max(earliest, *(int(np.searchsorted(number, number[place] - most)) for number, most in ways))

    def _forth(self, place: int, room: Int64[np.ndarray, " texts"], latest: int) -> int:
        ways = zip(self._number, room, strict=True)
        return min(latest, *(int(np.searchsorted(number, number[place] + most, "right")) - 1 for number, most in ways))

    def _alike(self, spans: Int64[np.ndarray, "U 2"]) -> Callable[[Item], Item | None]:
        """Completes an item with its group: the words of its kind, by how often they occur, are cut into groups.

        All words of a group have the same group. So it does not tell which of them is the target, and what a perfect
        model gives them, renormalized, is calibrated. That would not be so of words drawn anew for each target.
        """
        kinds: dict[tuple[Any, ...], dict[bytes, list[tuple[int, int]]]] = {}
        for (first, end), kind in zip(spans.tolist(), self._kinds(spans), strict=True):
            if kind:
                kinds.setdefault(kind, {}).setdefault(self._text[first:end], []).append((first, end))
        groups: dict[tuple[Any, bytes], list[bytes]] = {}
        for kind, words in kinds.items():
            mixed = list(words)
            np.random.default_rng(self._seed).shuffle(mixed)  # equally frequent ones, which are neighbors in the text
            mixed.sort(key=lambda word: -len(words[word]))
            for i in range(0, len(mixed) - CHOICES + 1, CHOICES):
                group = sorted(mixed[i : i + CHOICES])
                groups.update(((kind, word), group) for word in group)

        def complete(item: Item) -> Item | None:
            first, end = (int(self._documents[item.document]) + place for place in item.target)
            (kind,), truth = self._kinds(np.array([[first, end]])), self._text[first:end]
            group = groups.get((kind, truth))
            if group is None:
                return None
            places = tuple((first, end) if word == truth else kinds[kind][word][0] for word in group)
            return dataclasses.replace(item, choices=tuple(group), truth=group.index(truth), places=places)

        return complete

    def _kinds(self, spans: Int64[np.ndarray, "U 2"]) -> list[tuple[int, ...]]:
        """What the words of a group have in common: whether a space comes first, and their tokens for everybody.

        Nothing where a token of somebody reaches beyond the word.
        """
        index = np.searchsorted(self._whole, spans)
        widths = self._number[:, index[:, 1]] - self._number[:, index[:, 0]]
        spaced = np.frombuffer(self._text, np.uint8)[spans[:, 0]] == ord(" ")
        found = map(tuple, np.stack([spaced, *widths], axis=1).tolist())
        is_whole = (self._whole[index] == spans).all(axis=1).tolist()
        return [kind if whole else () for kind, whole in zip(found, is_whole, strict=True)]
