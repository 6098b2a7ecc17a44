"""Markov sources: each symbol depends on the `order` symbols before it, by a random table."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from batch import InputError
from data.sources.chains import Chain, stationary, walk
from data.sources.draws import LETTERS, check, distributions, drawn

STATES = 4096
"""Histories at most."""

GROUP = 2048
"""Questions of about one length that are asked at once."""


@dataclasses.dataclass(frozen=True)
class Markov:
    """Stationary from the first symbol on. The states of its chain are the last `order` symbols, the oldest first."""

    order: int = 1
    symbols: int = 16
    concentration: float = 0.2
    length: int = 61  # with newline and end 63 tokens, so that windows of 64 begin anywhere in them
    seed: int = 0

    def __post_init__(self):
        check(self, order=(1, 12), symbols=(2, len(LETTERS)), concentration=(1e-3, 1e3), length=(2, 8192))
        check(self, seed=(0, 2**63 - 1))
        if self.symbols**self.order > STATES:
            raise InputError(f"order={self.order}: {self.symbols} symbols have more than {STATES} histories; lower it.")

    @property
    def alphabet(self) -> str:
        return LETTERS[: self.symbols]

    @functools.cached_property
    def transition(self) -> Float64[np.ndarray, "S V"]:
        """p(symbol | history), the histories in the order of their letters."""
        rng = np.random.default_rng([self.seed, 0])
        return distributions(rng, self.symbols**self.order, self.symbols, self.concentration)

    @functools.cached_property
    def histories(self) -> Float64[np.ndarray, " S"]:
        """The stationary distribution of `order` symbols in a row."""
        return stationary(self._onward, len(self.transition))

    def sample(self, count: int, seed: int) -> Int64[np.ndarray, "count n"]:
        """Independent strings."""
        rng, size = np.random.default_rng([self.seed, 1, seed]), len(self.transition)
        first = drawn(self.histories[None], np.zeros(count, np.int64), rng)
        follow = lambda state, symbol: (state * self.symbols + symbol) % size  # noqa: E731
        return walk(self.transition, first, follow, self.length, rng) % self.symbols

    def posteriors(
        self, symbols: Int[np.ndarray, "Q n"], shown: Bool[np.ndarray, "Q n"], place: Int[np.ndarray, " Q"]
    ) -> Float64[np.ndarray, "Q V"]:
        """p(symbol at place | the shown others): those of the stretch around it, as far as it depends on them.

        Beyond `order` symbols in a row that are shown, nothing matters; the stretches are asked about in the order of
        their lengths, padded with hidden places, which change nothing in a stationary chain.
        """
        shown = shown & (np.arange(self.length) != place[:, None])
        first, size = _stretch(shown, place, self.order)
        found, by_size = np.zeros((len(symbols), self.symbols)), np.argsort(size, kind="stable")
        for start in range(0, len(by_size), GROUP):
            part = by_size[start : start + GROUP]
            index = np.arange(int(size[part[-1]]))[None]
            at = np.minimum(first[part, None] + index, self.length - 1)
            inside = np.take_along_axis(shown[part], at, axis=1) & (index < size[part, None])
            near = np.take_along_axis(symbols[part], at, axis=1)
            found[part] = self._chain.posteriors(near, inside, place[part] - first[part])
        return found

    def log_p(self, symbols: Int[np.ndarray, "Q n"], shown: Bool[np.ndarray, "Q n"]) -> Float64[np.ndarray, " Q"]:
        """Log-probability of what is shown."""
        return self._chain.log_p(symbols, shown)

    @property
    def entropy(self) -> float:
        """Of a string, in nats: that of its first symbols, up to `order`, and then the same for every symbol."""
        first = min(self.order, self.length)
        start = self.histories.reshape(self.symbols**first, -1).sum(axis=1)[None]
        rate = self.histories @ _entropies(self.transition)
        return float(_entropies(start)[0] + (self.length - first) * rate)

    @functools.cached_property
    def _chain(self) -> Chain:
        shows = np.tile(np.eye(self.symbols), (len(self.transition) // self.symbols, 1))
        return Chain(self._onward, self._back, shows, self.histories)

    def _onward(self, message: Float64[np.ndarray, "Q S"]) -> Float64[np.ndarray, "Q S"]:
        """Forgets the oldest symbol of a history for a new one."""
        by_rest = message.reshape(len(message), self.symbols, -1).transpose(2, 0, 1)
        return np.matmul(by_rest, self._table).transpose(1, 0, 2).reshape(message.shape)

    def _back(self, message: Float64[np.ndarray, "Q S"]) -> Float64[np.ndarray, "Q S"]:
        by_rest = message.reshape(len(message), -1, self.symbols).transpose(1, 0, 2)
        return np.matmul(by_rest, self._table.transpose(0, 2, 1)).transpose(1, 2, 0).reshape(message.shape)

    @functools.cached_property
    def _table(self) -> Float64[np.ndarray, "R V V"]:
        """p(new | oldest, rest) by rest, oldest, new."""
        return self.transition.reshape(self.symbols, -1, self.symbols).transpose(1, 0, 2)


def _stretch(
    shown: Bool[np.ndarray, "Q n"], place: Int[np.ndarray, " Q"], order: int
) -> tuple[Int64[np.ndarray, " Q"], Int64[np.ndarray, " Q"]]:
    """Where the nearest `order` shown symbols in a row before each place begin, and how far it is to the end of those
    after it; the ends of the string where there are none.
    """
    length = shown.shape[1]
    if order > length:
        return np.zeros(len(shown), np.int64), np.full(len(shown), length)
    index = np.arange(length - order + 1)
    run = np.lib.stride_tricks.sliding_window_view(shown, order, axis=1).all(axis=2)
    first = np.where(run & (index + order <= place[:, None]), index, 0).max(axis=1)
    last = np.where(run & (index > place[:, None]), index + order, length).min(axis=1)
    return first, last - first


def _entropies(p: Float64[np.ndarray, "S V"]) -> Float64[np.ndarray, " S"]:
    return -(p * np.log(p)).sum(axis=1)
