"""Sentences of a probabilistic context-free grammar, given their length.

In Chomsky's normal form: a nonterminal becomes two nonterminals, or a symbol. A sentence of n symbols takes n - 1
binary rules and n rules for symbols whatever its tree, so that the share of each kind, the same for all nonterminals,
cancels where the length is given. With weight 1 for both, the trees of one shape weigh 1 together: every shape is as
likely, and there are as many as Catalan's number. Marginals are those of the inside-outside algorithm (Lari and Young
1990).
"""

import dataclasses
import functools
import math

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from data.sources.draws import LETTERS, check, distributions, drawn

MOST = 1 << 17
"""Numbers of the pairs above the stretches of one width: what stays in a cache."""


@dataclasses.dataclass(frozen=True)
class Pcfg:
    """p(sentence) is the sum over its trees, over that of all sentences of this length. Nonterminal 0 begins."""

    nonterminals: int = 8
    symbols: int = 16
    concentration: float = 0.04
    length: int = 13  # with newline and end 15 tokens, so that windows of 64 begin anywhere in them
    seed: int = 0

    def __post_init__(self):
        check(self, nonterminals=(1, 64), symbols=(2, len(LETTERS)), concentration=(1e-3, 1e3), length=(2, 64))
        check(self, seed=(0, 2**63 - 1))

    @property
    def alphabet(self) -> str:
        return LETTERS[: self.symbols]

    @functools.cached_property
    def binary(self) -> Float64[np.ndarray, "K K K"]:
        """p(B C | A) among the binary rules of A, few of which matter: there are K times as many as nonterminals."""
        rng, count = np.random.default_rng([self.seed, 0]), self.nonterminals
        return distributions(rng, count, count**2, self.concentration / count).reshape(count, count, count)

    @functools.cached_property
    def emission(self) -> Float64[np.ndarray, "K V"]:
        """p(symbol | A) among the rules of A for symbols."""
        return distributions(np.random.default_rng([self.seed, 2]), self.nonterminals, self.symbols, self.concentration)

    def sample(self, count: int, seed: int) -> Int64[np.ndarray, "count n"]:
        """Independent sentences, each tree drawn from its top: where it splits, and into what."""
        rng = np.random.default_rng([self.seed, 1, seed])
        labels = np.full((self.length + 1, count, self.length), -1)  # by width, sentence and start; -1: no such node
        labels[self.length, :, 0] = 0
        rules = self.binary.reshape(self.nonterminals, -1)
        for width in range(self.length, 1, -1):
            which, start = np.nonzero(labels[width] >= 0)
            left = 1 + drawn(_splits(width), np.zeros(len(which), np.int64), rng)
            pair = drawn(rules, labels[width, which, start], rng)
            labels[left, which, start], labels[width - left, which, start + left] = np.divmod(pair, self.nonterminals)
        return drawn(self.emission, labels[1].ravel(), rng).reshape(count, self.length)

    def posteriors(
        self, symbols: Int[np.ndarray, "Q n"], shown: Bool[np.ndarray, "Q n"], place: Int[np.ndarray, " Q"]
    ) -> Float64[np.ndarray, "Q V"]:
        """p(symbol at place | the shown others)."""
        shown = shown & (np.arange(shown.shape[1]) != place[:, None])
        found = [np.zeros((0, self.symbols))]
        for part in self._parts(len(symbols)):
            outside = _outside(self._inside(symbols[part], shown[part]), self._rules)
            p = outside[place[part], np.arange(len(place[part]))] @ self.emission
            found.append(p / p.sum(axis=1, keepdims=True))
        return np.concatenate(found)

    def log_p(self, symbols: Int[np.ndarray, "Q n"], shown: Bool[np.ndarray, "Q n"]) -> Float64[np.ndarray, " Q"]:
        """Log-probability of what is shown."""
        found = [np.log(self._inside(symbols[part], shown[part])[-1][0, :, 0]) for part in self._parts(len(symbols))]
        return np.concatenate([np.zeros(0), *found]) - math.log(_shapes(self.length))

    @functools.cached_property
    def _rules(self) -> Float64[np.ndarray, "K2 K"]:
        return self.binary.reshape(self.nonterminals, -1).T

    def _inside(
        self, symbols: Int[np.ndarray, "Q n"], shown: Bool[np.ndarray, "Q n"]
    ) -> list[Float64[np.ndarray, "_ Q K"]]:
        """By width - 1, the weight of the trees above each stretch of symbols; what is hidden may be any symbol."""
        chart = [np.where(shown[:, :, None], self.emission.T[symbols], 1.0).transpose(1, 0, 2)]
        for width in range(2, self.length + 1):
            starts = self.length - width + 1
            pairs = np.zeros((*chart[0][:starts].shape, self.nonterminals))
            for left in range(1, width):
                pairs += chart[left - 1][:starts, :, :, None] * chart[width - left - 1][left : left + starts, :, None]
            chart.append(pairs.reshape(*pairs.shape[:2], -1) @ self._rules)
        return chart

    def _parts(self, count: int) -> list[slice]:
        step = max(MOST // (self.length * self.nonterminals**2), 1)
        return [slice(first, first + step) for first in range(0, count, step)]


def _shapes(width: int) -> int:
    """Binary trees of so many leaves."""
    return math.comb(2 * width - 2, width - 1) // width


def _splits(width: int) -> Float64[np.ndarray, "1 W"]:
    """p(symbols on the left) - 1 of a tree of so many."""
    return np.array([[_shapes(left) * _shapes(width - left) / _shapes(width) for left in range(1, width)]])


def _outside(
    chart: list[Float64[np.ndarray, "_ Q K"]], rules: Float64[np.ndarray, "K2 K"]
) -> Float64[np.ndarray, "n Q K"]:
    """The weight of all that is around each single symbol: the derivative of the sentence's by the symbol's."""
    length, (_, count, size) = len(chart), chart[0].shape
    outside = [np.zeros_like(layer) for layer in chart]
    outside[-1][0, :, 0] = 1
    for width in range(length, 1, -1):
        starts = length - width + 1
        pairs = (outside[width - 1] @ rules.T).reshape(starts, count, size, size)
        for left in range(1, width):
            first, second = chart[left - 1][:starts], chart[width - left - 1][left : left + starts]
            outside[left - 1][:starts] += np.einsum("sqbc,sqc->sqb", pairs, second)
            outside[width - left - 1][left : left + starts] += np.einsum("sqbc,sqb->sqc", pairs, first)
    return outside[0]
