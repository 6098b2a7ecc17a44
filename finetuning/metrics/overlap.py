"""How well what was found agrees with what is there: precision, recall and F1, from three counts."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Overlap:
    """Counts of things, words of an answer or entities of a text, say."""

    both: int  # found, and there
    found: int
    there: int

    @property
    def precision(self) -> float:
        """Which part of what was found is there; 0 where nothing was found."""
        return self.both / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """Which part of what is there was found; 0 where nothing is there."""
        return self.both / self.there if self.there else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of the two, 0 where either is 0 (van Rijsbergen 1979)."""
        return 2 * self.both / (self.found + self.there) if self.both else 0.0
