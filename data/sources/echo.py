"""Echo: each symbol repeats the one a period before it, or is drawn anew; the past matters, but only from afar."""

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from data.sources.draws import LETTERS, check


@dataclasses.dataclass(frozen=True)
class Echo:
    """The symbol at t is that at t - period with probability `share`, and uniform otherwise.

    So a string is `period` interleaved chains that know nothing of each other, and fewer than `period` symbols in a row
    are uniform and independent.
    """

    symbols: int = 8
    period: int = 16
    share: float = 0.9
    length: int = 253  # with newline and end 255 tokens, so that windows of 16 begin anywhere in them
    seed: int = 0

    def __post_init__(self):
        check(self, symbols=(2, len(LETTERS)), period=(1, 4096), share=(0, 0.999), length=(2, 8192))
        check(self, seed=(0, 2**63 - 1))

    @property
    def alphabet(self) -> str:
        return LETTERS[: self.symbols]

    @property
    def entropy(self) -> float:
        """Of a symbol, in nats, given the one a period before it."""
        other = (1 - self.share) / self.symbols
        same = self.share + other
        return -same * math.log(same) - (self.symbols - 1) * other * math.log(other)

    def sample(self, count: int, seed: int) -> Int64[np.ndarray, "count n"]:
        """Independent strings."""
        rng = np.random.default_rng([self.seed, 1, seed])
        found = rng.integers(self.symbols, size=(count, self.length))
        repeats = rng.random((count, self.length)) < self.share
        for t in range(self.period, self.length):
            found[:, t] = np.where(repeats[:, t], found[:, t - self.period], found[:, t])
        return found

    def posteriors(
        self, symbols: Int[np.ndarray, "Q n"], shown: Bool[np.ndarray, "Q n"], place: Int[np.ndarray, " Q"]
    ) -> Float64[np.ndarray, "Q V"]:
        """p(symbol at place | the shown others): of the nearest two of its own chain that are shown, one a side."""
        p = np.ones((len(place), self.symbols))
        for side in (-1, 1):
            open_ones = np.ones(len(place), bool)
            for steps in range(1, -(-shown.shape[1] // self.period)):
                at = place + side * steps * self.period
                inside = open_ones & (at >= 0) & (at < shown.shape[1])
                question = np.flatnonzero(inside)
                question = question[shown[question, at[question]]]
                p[question] *= self._after(steps, symbols[question, at[question]])
                open_ones[question] = False
        return p / p.sum(axis=1, keepdims=True)

    def log_p(self, symbols: Int[np.ndarray, "Q n"], shown: Bool[np.ndarray, "Q n"]) -> Float64[np.ndarray, " Q"]:
        """Log-probability of what is shown, each symbol given the one shown before it in its chain."""
        total = np.zeros(len(symbols))
        for t in range(shown.shape[1]):
            before = shown & (np.arange(shown.shape[1]) < t)
            p = self.posteriors(symbols, before, np.full(len(symbols), t))
            total += np.where(shown[:, t], np.log(p[np.arange(len(symbols)), symbols[:, t]]), 0.0)
        return total

    def _after(self, steps: int, symbol: Int[np.ndarray, " Q"]) -> Float64[np.ndarray, "Q V"]:
        """What is known so many periods after, or before, a symbol: it is still there, or anything is."""
        kept = self.share**steps
        return kept * (symbol[:, None] == np.arange(self.symbols)) + (1 - kept) / self.symbols
