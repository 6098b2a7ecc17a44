"""Hidden Markov sources: a random chain of states, each of which shows a symbol by a random table."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from data.sources.chains import Chain, stationary, walk
from data.sources.draws import LETTERS, check, distributions, drawn


@dataclasses.dataclass(frozen=True)
class Hmm:
    """Stationary from the first symbol on. What it says depends on all that it said, however long ago."""

    states: int = 16
    symbols: int = 16
    concentration: float = 0.05
    length: int = 61  # with newline and end 63 tokens, so that windows of 64 begin anywhere in them
    seed: int = 0

    def __post_init__(self):
        check(self, states=(1, 512), symbols=(2, len(LETTERS)), concentration=(1e-3, 1e3), length=(2, 8192))
        check(self, seed=(0, 2**63 - 1))

    @property
    def alphabet(self) -> str:
        return LETTERS[: self.symbols]

    @functools.cached_property
    def transition(self) -> Float64[np.ndarray, "S S"]:
        """p(next state | state)."""
        return distributions(np.random.default_rng([self.seed, 0]), self.states, self.states, self.concentration)

    @functools.cached_property
    def emission(self) -> Float64[np.ndarray, "S V"]:
        """p(symbol | state)."""
        return distributions(np.random.default_rng([self.seed, 2]), self.states, self.symbols, self.concentration)

    @functools.cached_property
    def initial(self) -> Float64[np.ndarray, " S"]:
        """The stationary distribution of the states."""
        return stationary(self._onward, self.states)

    def sample(self, count: int, seed: int) -> Int64[np.ndarray, "count n"]:
        """Independent strings."""
        rng = np.random.default_rng([self.seed, 1, seed])
        first = drawn(self.initial[None], np.zeros(count, np.int64), rng)
        path = walk(self.transition, first, lambda state, drawn: drawn, self.length, rng)
        return drawn(self.emission, path.ravel(), rng).reshape(path.shape)

    def posteriors(
        self, symbols: Int[np.ndarray, "Q n"], shown: Bool[np.ndarray, "Q n"], place: Int[np.ndarray, " Q"]
    ) -> Float64[np.ndarray, "Q V"]:
        """p(symbol at place | the shown others)."""
        return self._chain.posteriors(symbols, shown, place)

    def log_p(self, symbols: Int[np.ndarray, "Q n"], shown: Bool[np.ndarray, "Q n"]) -> Float64[np.ndarray, " Q"]:
        """Log-probability of what is shown."""
        return self._chain.log_p(symbols, shown)

    @functools.cached_property
    def _chain(self) -> Chain:
        return Chain(self._onward, lambda message: message @ self.transition.T, self.emission, self.initial)

    def _onward(self, message: Float64[np.ndarray, "Q S"]) -> Float64[np.ndarray, "Q S"]:
        return message @ self.transition
