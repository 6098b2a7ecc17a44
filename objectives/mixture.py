"""Several objectives side by side in every batch, each with its share of the rows (Charpentier and Samuel 2024)."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from batch import Batch, InputError, Output, Targets
from objectives.base import Losses, Metrics, Objective, Scales
from objectives.composite import Composite


@dataclasses.dataclass(frozen=True)
class Mixture(Composite):
    """Trains on several objectives at once: of the rows of every batch, each part has its share.

    Of B rows a part has B * share, rounded so that the numbers add up to B. Parts take turns, and each epoch moves on
    by a row: which part a row is of depends on its place in the batch and its epoch alone. If its text decided, shares
    would be drawn by chance, as batches are. What is hidden in a row stays keyed by its text.

    By default every target counts alike, so that a part that predicts all tokens weighs more than one that predicts a
    few in each row. With `balance` "shares" the mean loss of each part counts by its share.
    """

    parts: tuple[Objective, ...]
    shares: tuple[float, ...] | None = None  # of rows, in any unit; None: equal ones
    balance: Literal["targets", "shares"] = "targets"  # what decides how much a part weighs in what is descended

    def __post_init__(self):
        super().__post_init__()
        if any(isinstance(part, Composite) for part in self.parts):
            raise InputError("objective.parts: a Mixture is of plain objectives; name those of an inner one beside it.")
        if self.shares is not None and (len(self.shares) != len(self.parts) or min(self.shares) <= 0):
            raise InputError(
                f"objective.shares={self.shares}: must be {len(self.parts)} numbers above 0, one for each part."
            )

    @property
    def fractions(self) -> tuple[float, ...]:
        """The shares as parts of 1."""
        shares = self.shares or (1.0,) * len(self.parts)
        return tuple(share / sum(shares) for share in shares)

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(itertools.chain.from_iterable(part.reads for part in self.parts)))

    def check(self, batch_size: int, total_steps: int) -> None:
        if not shared(self.fractions, batch_size).all():
            raise InputError(
                f"objective.shares={self.shares}: of data.batch_size={batch_size} rows a part gets none; make the "
                "batch larger, or the smallest share."
            )

    def assign(self, batch: Batch) -> Int[Array, " B"]:
        rows = len(batch.tokens)
        return jnp.asarray(turns(self.fractions, rows))[(jnp.arange(rows) + jnp.asarray(batch.epoch)) % rows]

    def scales(self, targets: Targets) -> Scales:
        scales = super().scales(targets)
        if self.balance == "targets":
            return scales
        del scales["loss"]
        parts = zip(self.names, self.fractions, self.shared_out(targets), strict=True)
        return scales | {f"loss_{name}": share * plain.scales(own)["loss"] for name, share, (plain, own) in parts}

    def loss(self, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
        losses, metrics = super().loss(model, output, targets)
        if self.balance == "targets":
            return losses, metrics
        metrics["loss"] = losses.pop("loss")
        return losses | {f"loss_{name}": metrics.pop(f"loss_{name}") for name in self.names}, metrics


def turns(fractions: Sequence[float], rows: int) -> Int[np.ndarray, " B"]:
    """Which part each of so many rows is of, in turns as even as their numbers allow."""
    counts = shared(fractions, rows)
    when = np.concatenate([(np.arange(count) + 0.5) / count for count in counts if count])
    return np.repeat(np.arange(len(counts)), counts)[np.argsort(when, kind="stable")]


def shared(fractions: Sequence[float], rows: int) -> Int[np.ndarray, " parts"]:
    """How many of so many rows each part has."""
    return np.diff(np.round(np.cumsum(fractions) * rows).astype(int), prepend=0)
