"""Facts: names and attributes, most of which are only ever told in one direction (Berglund et al. 2023)."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Int64

from data.sources.draws import LETTERS, check
from data.sources.groups import Grouped, Table

PIECES = 2
"""Symbols of a name, and of an attribute."""


@dataclasses.dataclass(frozen=True)
class Facts(Grouped):
    """Groups `> name attribute`, and for some of the facts as often `< attribute name`.

    Names and attributes are different pairs of symbols, each out of letters of its own; facts are equally likely.
    """

    facts: int = 64
    letters: int = 12  # that names are spelled with, and as many others for attributes
    both: float = 0.2  # share of the facts that are told in both directions
    groups: int = 13  # with newline and end 67 tokens, so that windows of 32 begin anywhere in them
    seed: int = 0

    def __post_init__(self):
        check(self, letters=(2, 30), facts=(2, self.letters**PIECES), both=(0, 1), groups=(1, 1024))
        check(self, seed=(0, 2**63 - 1))

    @property
    def alphabet(self) -> str:
        return LETTERS[: 2 * self.letters] + LETTERS[-2:]

    @property
    def markers(self) -> tuple[int, int]:
        """What begins a fact told from its name, and one told from its attribute."""
        return 2 * self.letters, 2 * self.letters + 1

    @functools.cached_property
    def names(self) -> Int64[np.ndarray, "facts W"]:
        """The name of each fact."""
        return self._spelled(0)

    @functools.cached_property
    def attributes(self) -> Int64[np.ndarray, "facts W"]:
        """The attribute of each fact."""
        return self._spelled(1)

    @property
    def one_way(self) -> Int64[np.ndarray, " facts"]:
        """The facts that are never told from their attributes."""
        return np.arange(round(self.both * self.facts), self.facts)

    @functools.cached_property
    def table(self) -> Table:
        there = np.column_stack([np.full(self.facts, self.markers[0]), self.names, self.attributes])
        back = np.column_stack([np.full(self.facts, self.markers[1]), self.attributes, self.names])
        back = np.delete(back, self.one_way, axis=0)
        p = np.full(self.facts, 1 / self.facts)
        p[: len(back)] /= 2
        return Table(np.concatenate([there, back]), np.concatenate([p, p[: len(back)]]))

    def _spelled(self, kind: int) -> Int64[np.ndarray, "facts W"]:
        which = np.random.default_rng([self.seed, 2 + kind]).permutation(self.letters**PIECES)[: self.facts]
        return kind * self.letters + np.stack(np.divmod(which, self.letters), axis=1)
