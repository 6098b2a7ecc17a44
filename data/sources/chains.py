"""Hidden Markov chains: the forward-backward algorithm where any places may be hidden (Rabiner 1989, section III).

Messages are held for as many questions as are asked at once, and normalized at every step, so that no length is too
long. A place that is hidden weighs all states alike.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from data.sources.draws import drawn

Messages = Float64[np.ndarray, "Q S"]
STEPS, ALIKE = 100_000, 1e-14
MOST = 1 << 17
"""Numbers of a message: what stays in a cache."""


@dataclasses.dataclass(frozen=True, eq=False)
class Chain:
    """States that nobody sees, each of which shows a symbol, begun in their stationary distribution."""

    onward: Callable[[Messages], Messages]  # q -> sum_s q(s) p(s' | s)
    back: Callable[[Messages], Messages]  # b -> sum_s' p(s' | s) b(s')
    emission: Float64[np.ndarray, "S V"]
    initial: Float64[np.ndarray, " S"]

    def posteriors(
        self, symbols: Int[np.ndarray, "Q n"], shown: Bool[np.ndarray, "Q n"], place: Int[np.ndarray, " Q"]
    ) -> Float64[np.ndarray, "Q V"]:
        """p(symbol at place | the shown others)."""
        seen = self._seen(symbols, shown & (np.arange(shown.shape[1]) != place[:, None]))
        found = np.zeros((len(seen), self.emission.shape[1]))
        for part in self._parts(len(seen)):
            p = (self._before(seen[part], place[part]) * self._after(seen[part], place[part])) @ self.emission
            found[part] = p / p.sum(axis=1, keepdims=True)
        return found

    def log_p(self, symbols: Int[np.ndarray, "Q n"], shown: Bool[np.ndarray, "Q n"]) -> Float64[np.ndarray, " Q"]:
        """Log-probability of what is shown."""
        seen, total = self._seen(symbols, shown), np.zeros(len(symbols))
        for part in self._parts(len(seen)):
            for _, mass in self._forward(seen[part]):
                total[part] += np.log(mass)
        return total

    def _before(self, seen: Int[np.ndarray, "Q n"], place: Int[np.ndarray, " Q"]) -> Float64[np.ndarray, "Q S"]:
        """The distribution of the state at `place`, given what is seen before it."""
        found = np.empty((len(seen), len(self.initial)))
        for t, (message, _) in enumerate(self._forward(seen[:, : place.max() + 1])):
            found[place == t] = message[place == t]
        return found

    def _after(self, seen: Int[np.ndarray, "Q n"], place: Int[np.ndarray, " Q"]) -> Float64[np.ndarray, "Q S"]:
        """How likely each state at `place` makes what is seen after it, up to a factor."""
        message = found = np.ones((len(seen), len(self.initial)))
        for t in range(seen.shape[1] - 1, place.min(), -1):
            message = self.back(message * self._weights[seen[:, t]])
            message /= message.sum(axis=1, keepdims=True)
            found = np.where((place < t)[:, None], message, found)
        return found

    def _forward(self, seen: Int[np.ndarray, "Q n"]) -> Iterator[tuple[Messages, Float64[np.ndarray, " Q"]]]:
        """For each place: the state given what is seen before it, and the probability of what is seen there."""
        message = np.broadcast_to(self.initial, (len(seen), len(self.initial)))
        for t in range(seen.shape[1]):
            message = self.onward(message) if t else message
            weighed = message * self._weights[seen[:, t]]
            mass = weighed.sum(axis=1)
            yield message, mass
            message = weighed / mass[:, None]

    @functools.cached_property
    def _weights(self) -> Float64[np.ndarray, "W S"]:
        """How likely each state shows each symbol; the last row is of a place that is hidden."""
        return np.concatenate([self.emission.T, np.ones((1, len(self.initial)))])

    def _seen(self, symbols: Int[np.ndarray, "Q n"], shown: Bool[np.ndarray, "Q n"]) -> Int[np.ndarray, "Q n"]:
        return np.where(shown, symbols, self.emission.shape[1])

    def _parts(self, count: int) -> list[slice]:
        step = max(MOST // len(self.initial), 1)
        return [slice(first, first + step) for first in range(0, count, step)]


def stationary(onward: Callable[[Messages], Messages], size: int) -> Float64[np.ndarray, " S"]:
    """The distribution that `onward` leaves as it is."""
    message = np.full((1, size), 1 / size)
    for _ in range(STEPS):
        last, message = message, onward(message)
        message = message / message.sum()
        if np.abs(message - last).sum() < ALIKE:
            break
    return message[0]


def walk(
    transition: Float64[np.ndarray, "S W"],
    first: Int64[np.ndarray, " Q"],
    follow: Callable[[Int64[np.ndarray, " Q"], Int64[np.ndarray, " Q"]], Int64[np.ndarray, " Q"]],
    length: int,
    rng: np.random.Generator,
) -> Int64[np.ndarray, "Q n"]:
    """Paths of `length` states from `first` on: a state, and what is drawn from its row, say which state follows."""
    states = [first]
    for _ in range(length - 1):
        states.append(follow(states[-1], drawn(transition, states[-1], rng)))
    return np.stack(states, axis=1)
