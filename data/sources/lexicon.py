"""A lexicon: words of one piece and words of three, equally frequent (after Kauf and Ivanova 2023)."""

import dataclasses
import functools
import itertools

import numpy as np
from jaxtyping import Float64, Int64

from data.sources.draws import LETTERS, check
from data.sources.groups import Grouped, Table

PIECES = 3
"""Symbols of a long word."""


@dataclasses.dataclass(frozen=True)
class Lexicon(Grouped):
    """Groups `short long`: a word of one symbol, then one of three, which no other word has.

    The k-th short word is as frequent as the k-th long one, in proportion to 1/k (Zipf 1949). The two words of a group
    are independent; each piece of a long word says what the others are.
    """

    words: int = 12  # of each kind
    groups: int = 16  # with newline and end 66 tokens
    seed: int = 0

    def __post_init__(self):
        check(self, words=(2, len(LETTERS) // (1 + PIECES)), groups=(1, 2048), seed=(0, 2**63 - 1))

    @property
    def alphabet(self) -> str:
        return LETTERS[: (1 + PIECES) * self.words]

    @functools.cached_property
    def frequency(self) -> Float64[np.ndarray, " words"]:
        """Of the k-th word of either kind."""
        share = 1 / np.arange(1, self.words + 1)
        return share / share.sum()

    @property
    def short(self) -> Int64[np.ndarray, " words"]:
        """The symbol of each short word."""
        return np.arange(self.words)

    @functools.cached_property
    def long(self) -> Int64[np.ndarray, "words W"]:
        """The symbols of each long word."""
        rng = np.random.default_rng([self.seed, 2])
        return self.words + rng.permutation(PIECES * self.words).reshape(self.words, PIECES)

    @property
    def entropy(self) -> float:
        """Of a word of either kind, in nats."""
        return float(-(self.frequency * np.log(self.frequency)).sum())

    @functools.cached_property
    def table(self) -> Table:
        pairs = list(itertools.product(range(self.words), repeat=2))
        rows = [(self.short[i], *self.long[j]) for i, j in pairs]
        return Table(np.array(rows), np.array([self.frequency[i] * self.frequency[j] for i, j in pairs]))
