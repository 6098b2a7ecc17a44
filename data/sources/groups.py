"""Sources of independent groups: a text is groups of equally many symbols, each drawn whole from one table.

What is shown of a group leaves the rows of the table that agree with it: every posterior is a sum over these.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from data.sources.draws import drawn

PARTS = 1 << 22
"""Comparisons of a question with a row of the table that are made at once."""


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """All groups that there can be, and how often each of them comes."""

    rows: Int64[np.ndarray, "rows W"]
    p: Float64[np.ndarray, " rows"]

    @property
    def width(self) -> int:
        """Symbols of a group."""
        return self.rows.shape[1]

    @property
    def entropy(self) -> float:
        """Of a group, in nats, given those before it."""
        return float(-(self.p * np.log(self.p)).sum())


class Grouped:
    """What a source of groups is, but for its table and its alphabet, which subclasses give."""

    groups: int
    seed: int

    @functools.cached_property
    def table(self) -> Table:
        """The groups that a text is made of."""
        raise NotImplementedError

    @property
    def alphabet(self) -> str:
        """The letter of each symbol."""
        raise NotImplementedError

    @property
    def length(self) -> int:
        """Symbols of a text."""
        return self.groups * self.table.width

    def sample(self, count: int, seed: int) -> Int64[np.ndarray, "count n"]:
        """Independent strings."""
        rng = np.random.default_rng([self.seed, 1, seed])
        which = drawn(self.table.p[None], np.zeros(count * self.groups, np.int64), rng)
        return self.table.rows[which].reshape(count, self.length)

    def posteriors(
        self, symbols: Int[np.ndarray, "Q n"], shown: Bool[np.ndarray, "Q n"], place: Int[np.ndarray, " Q"]
    ) -> Float64[np.ndarray, "Q V"]:
        """p(symbol at place | the shown others): of its own group."""
        width, question = self.table.width, np.arange(len(place))
        group, within = np.divmod(place, width)
        own = symbols.reshape(len(place), -1, width)[question, group]
        seen = shown.reshape(len(place), -1, width)[question, group] & (np.arange(width) != within[:, None])
        found = np.zeros((len(place), len(self.alphabet)))
        for part in self._parts(len(place)):
            weight = self._agrees(own[part], seen[part]) * self.table.p
            for i in range(width):
                asked = np.flatnonzero(within[part] == i)
                symbol = self.table.rows[:, i][:, None] == np.arange(len(self.alphabet))
                found[part.start + asked] = weight[asked] @ symbol
        return found / found.sum(axis=1, keepdims=True)

    def log_p(self, symbols: Int[np.ndarray, "Q n"], shown: Bool[np.ndarray, "Q n"]) -> Float64[np.ndarray, " Q"]:
        """Log-probability of what is shown: the sum of those of the groups."""
        own, seen = symbols.reshape(-1, self.table.width), shown.reshape(-1, self.table.width)
        p = np.concatenate([self._agrees(own[part], seen[part]) @ self.table.p for part in self._parts(len(own))])
        return np.log(p).reshape(len(symbols), -1).sum(axis=1)

    def _agrees(self, symbols: Int[np.ndarray, "Q W"], shown: Bool[np.ndarray, "Q W"]) -> Bool[np.ndarray, "Q rows"]:
        """Whether a row of the table has what is shown."""
        return ((symbols[:, None] == self.table.rows[None]) | ~shown[:, None]).all(axis=2)

    def _parts(self, count: int) -> list[slice]:
        step = max(PARTS // self.table.rows.size, 1)
        return [slice(first, first + step) for first in range(0, count, step)]
