"""Coupled pairs: a context says how much two symbols behind it have to do with each other (Yang et al. 2019, 2.6)."""

import dataclasses
import functools
import itertools

import numpy as np
from jaxtyping import Float64

from data.sources.draws import LETTERS, check
from data.sources.groups import Grouped, Table


@dataclasses.dataclass(frozen=True)
class Coupled(Grouped):
    """Groups `context a b`: a is uniform; b repeats a with the probability that the context says, else it is uniform.

    The contexts are equally likely; their probabilities are spread evenly from 0 to `most`.
    """

    symbols: int = 8
    contexts: int = 3
    most: float = 0.9
    groups: int = 21  # with newline and end 65 tokens, so that windows of 32 begin anywhere in them
    seed: int = 0

    def __post_init__(self):
        check(self, symbols=(2, 26), contexts=(2, len(LETTERS) - 26), most=(0, 1), groups=(1, 2048))
        check(self, seed=(0, 2**63 - 1))

    @property
    def alphabet(self) -> str:
        return LETTERS[: self.symbols] + LETTERS[26 : 26 + self.contexts]

    @functools.cached_property
    def repeats(self) -> Float64[np.ndarray, " contexts"]:
        """How often b repeats a on purpose, by context."""
        return np.linspace(0, self.most, self.contexts)

    @functools.cached_property
    def table(self) -> Table:
        V, C = self.symbols, self.contexts
        pair = self.repeats[:, None, None] * np.eye(V) / V + (1 - self.repeats)[:, None, None] / V**2
        rows = [(V + c, a, b) for c, a, b in itertools.product(range(C), range(V), range(V))]
        possible = pair.reshape(-1) > 0  # with certain copies no others
        return Table(np.array(rows)[possible], pair.reshape(-1)[possible] / C)

    @functools.cached_property
    def information(self) -> Float64[np.ndarray, " contexts"]:
        """I(a; b) in nats, by context: what is lost where both are predicted at once."""
        V, other = self.symbols, (1 - self.repeats) / self.symbols
        same, rest = self.repeats + other, np.maximum(other, 1e-300)  # of certain copies nothing else is left
        return np.log(V) + same * np.log(same) + (V - 1) * other * np.log(rest)
