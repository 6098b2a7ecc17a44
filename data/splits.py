"""Which documents are for training, validation and test: by their content, whole, and about the shares asked for."""

import array
import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from batch import InputError
from data.corpus import Document

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class SplitPlan:
    """Which split each document, or each line of a small corpus, belongs to, in reading order."""

    split_of: Int[np.ndarray, " n"]  # an index into SPLITS for each document, or line
    by_line: bool
    num_bytes: dict[Split, int]

    @property
    def note(self) -> str:
        """What the user should know of an unusual split; empty for a usual one."""
        cut = "the corpus has fewer than three different documents, so that its last lines are held out instead"
        return cut if self.by_line else ""

    def parts(self, documents: Iterable[Document]) -> Iterator[tuple[Split, Document]]:
        """The documents, or the parts of them that the splits leave, with their splits."""
        first = 0
        for index, document in enumerate(documents):
            if not self.by_line:
                yield SPLITS[self.split_of[index]], document
                continue
            of_lines = self.split_of[first : first + len(document.lines)]
            first += len(document.lines)
            for number, split in enumerate(SPLITS):
                begin, end = np.searchsorted(of_lines, [number, number + 1])
                if begin < end:
                    words = document.words and document.words[begin:end]
                    yield split, Document(document.name, document.lines[begin:end], words)


def plan_splits(documents: Callable[[], Iterable[Document]], validation: float, test: float) -> SplitPlan:
    """Plans the split from a pass over the corpus; the shares are of its bytes.

    In the order of their hashes, documents join the validation, then the test split as long as that brings it nearer
    to its share: the choice is as good as random, the same for the same corpus, and equal documents stay together.
    Every split with a share gets a document where there are different ones enough; otherwise the last lines are held
    out. Raises InputError where there are not even lines enough.
    """
    keys, sizes = array.array("q"), array.array("q")
    for document in documents():
        text = document.text.encode()
        keys.append(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1)
        sizes.append(len(text))
    shares = {number: share for number, share in ((1, validation), (2, test)) if share}
    unique, group = np.unique(np.array(keys, np.int64), return_inverse=True)
    if len(unique) > len(shares):
        split_of = _chosen(np.bincount(group, weights=sizes), shares)[group]
        return _plan(split_of, np.array(sizes, np.int64), by_line=False)
    lines = np.array([len(line.encode()) + 1 for document in documents() for line in document.lines], np.int64)
    if len(lines) <= len(shares):
        raise InputError(
            f"data.corpus: {len(lines)} line{'s' * (len(lines) != 1)} cannot be split into training, validation and "
            f"test parts; give more text, or set data.validation=0 and data.test=0."
        )
    return _plan(_tails(lines, shares), lines, by_line=True)


def _chosen(sizes: Float[np.ndarray, " n"], shares: dict[int, float]) -> Int[np.ndarray, " n"]:
    """The split of each different document, in the order of their hashes."""
    split_of = np.zeros(len(sizes), np.int8)
    free = len(sizes)
    for still_to_serve, (number, share) in zip(range(len(shares), 0, -1), shares.items(), strict=True):
        target, taken, first = share * sizes.sum(), 0.0, free
        for i in np.flatnonzero(split_of == 0):
            if free > still_to_serve and taken + sizes[i] / 2 <= target:
                split_of[i] = number
                taken += sizes[i]
                free -= 1
        if free == first:
            rest = np.flatnonzero(split_of == 0)
            split_of[rest[np.argmin(sizes[rest])]] = number
            free -= 1
    return split_of


def _tails(sizes: Int[np.ndarray, " n"], shares: dict[int, float]) -> Int[np.ndarray, " n"]:
    """The split of each line: training first, then a tail of about its share for each other split, never empty."""
    split_of = np.zeros(len(sizes), np.int8)
    starts, total, end, held = np.cumsum(sizes) - sizes, sizes.sum(), len(sizes), 0.0
    for before, (number, share) in zip(range(len(shares), 0, -1), reversed(shares.items()), strict=True):
        held += share
        nearest = int(np.abs(starts - (1 - held) * total).argmin())
        begin = min(max(nearest, before), end - 1)
        split_of[begin:end] = number
        end = begin
    return split_of


def _plan(split_of: Int[np.ndarray, " n"], sizes: Int[np.ndarray, " n"], by_line: bool) -> SplitPlan:
    num_bytes: dict[Split, int] = {split: int(sizes[split_of == i].sum()) for i, split in enumerate(SPLITS)}
    return SplitPlan(split_of, by_line, num_bytes)
