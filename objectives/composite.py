"""What a mixture and stages share: several objectives behind one, each row being one objective's."""

import dataclasses
import functools
import itertools
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from batch import Batch, InputError, Inputs, Output, Targets, Vocab
from objectives.base import READINGS, Losses, Metrics, Objective, Scales, scale
from objectives.surprise import Once

Tree = TypeVar("Tree", Inputs, Targets)


@struct.dataclass(kw_only=True)
class Mixed(Targets):
    """Targets that know whose they are."""

    part: Int[Array, " B"]  # which of the plain objectives each row is of


class Composite:
    """Several objectives, of which each row has one and is exactly as that one prepares it.

    All of them prepare the whole batch, which is cheap, and each row takes its own: one compiled step serves, whoever
    has which row. A row has as many predictions as the objective with the most, and the model runs a query stream if
    one needs it.
    """

    parts: tuple[Objective, ...]

    @functools.cached_property
    def plain(self) -> tuple[Objective, ...]:
        """The objectives that a row can be of: the parts, or what these are made of."""
        return tuple(itertools.chain.from_iterable(map(plains, self.parts)))

    def __post_init__(self):
        if not self.parts:
            raise InputError("objective.parts=(): must name at least one objective.")
        if len({each.reuse for each in self.plain}) > 1:
            told = ", ".join(f"{each.reuse} of {type(each).__name__}" for each in self.plain)
            raise InputError(f"objective.reuse: is {told}; all parts share one memory, so give them the same.")
        if sum(each.pair_weight > 0 for each in self.plain) > 1:
            raise InputError("objective.pair_weight: is above 0 in several parts; leave the pair loss to one of them.")

    @property
    def query_stream(self) -> bool:
        return any(each.query_stream for each in self.plain)

    @property
    def reuse(self) -> int | None:
        return self.plain[0].reuse

    @property
    def pair_weight(self) -> float:
        return max(each.pair_weight for each in self.plain)

    @property
    def reads(self) -> tuple[str, ...]:
        """See Objective."""
        raise NotImplementedError

    def assign(self, batch: Batch) -> Int[Array, " B"]:
        """Which of the plain objectives each row is of."""
        raise NotImplementedError

    def check(self, batch_size: int, total_steps: int) -> None:
        """Raises InputError where the rows of a batch or the steps of a run do not suffice for all parts."""
        raise NotImplementedError

    def prepare(self, batch: Batch, vocab: Vocab, key: Key[Array, ""]) -> tuple[Inputs, Targets]:
        part = self.assign(batch)
        prepared = [plain.prepare(batch, vocab, key) for plain in self.plain]
        slots = max(inputs.predict.shape[1] for inputs, _ in prepared)
        inputs = [
            dataclasses.replace(own, predict=widened(own.predict, slots), query_stream=self.query_stream)
            for own, _ in prepared
        ]
        targets = [
            Mixed(
                labels=widened(own.labels, slots),
                weights=widened(own.weights, slots),
                task=batch.task,
                task_weights=None if batch.task is None else pair_rows(plain, own),
                part=part,
            )
            for plain, (_, own) in zip(self.plain, prepared, strict=True)
        ]
        return rows_of(part, inputs), rows_of(part, targets)

    def scales(self, targets: Targets) -> Scales:
        scales: Scales = {}
        for plain, own in self.shared_out(targets):
            scales |= plain.scales(own)
        return {**scales, "loss": scale(1.0, targets.weights)}

    def loss(self, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
        """The losses of the parts, each over its own rows, added up by name; `loss_PART` is that of one of them."""
        once = Once(model, output, targets)
        losses: Losses = {}
        metrics: Metrics = {}
        for name, (plain, own) in zip(self.names, self.shared_out(targets), strict=True):
            trained, watched = plain.loss(once, output, own)
            for total, found in ((losses, trained), (metrics, watched)):
                total |= {key: total[key] + mean if key in total else mean for key, mean in found.items()}
            metrics[f"loss_{name}"] = trained["loss"]
        return losses, metrics

    def shared_out(self, targets: Targets) -> list[tuple[Objective, Targets]]:
        """Each plain objective, and the targets with those of other rows unused."""
        assert isinstance(targets, Mixed), "made by prepare"
        found = []
        for i, plain in enumerate(self.plain):
            own = targets.part == i
            weights = jnp.where(own[:, None], targets.weights, 0.0)
            task_weights = None if targets.task_weights is None else jnp.where(own, targets.task_weights, 0.0)
            found.append((plain, dataclasses.replace(targets, weights=weights, task_weights=task_weights)))
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """What its plain objectives are called in metrics: causal_lm; of several of one class, masked_lm_2."""
        found = [re.sub("(?<=[a-z])(?=[A-Z])", "_", type(each).__name__).lower() for each in self.plain]
        return tuple(
            f"{name}_{found[: i + 1].count(name)}" if found.count(name) > 1 else name for i, name in enumerate(found)
        )


def plains(objective: Objective) -> tuple[Objective, ...]:
    """All that a mixture or stages are made of, or this objective alone."""
    return objective.plain if isinstance(objective, Composite) else (objective,)


def places(objective: Objective, inputs: Inputs, targets: Targets) -> Int[Array, "B P"]:
    """Where the tokens stand that are asked for at `inputs.predict`; any value where the weight is 0."""
    ahead = jnp.array([READINGS[plain.reads[0]] if plain.reads else 0 for plain in plains(objective)])
    part = targets.part if isinstance(targets, Mixed) else jnp.zeros(len(inputs.predict), jnp.int32)
    return inputs.predict + ahead[part][:, None]


def rows_of(part: Int[Array, " B"], options: Sequence[Tree]) -> Tree:
    """Row b of `options[part[b]]`, for every row and every array."""
    return jax.tree.map(lambda *arrays: jax.vmap(jax.lax.select_n)(part, *arrays), *options)


def widened(slots: Array, count: int) -> Array:
    """Predictions [B P] with zeros up to `count` of them a row."""
    return jnp.pad(slots, ((0, 0), (0, count - slots.shape[1])))


def pair_rows(objective: Objective, targets: Targets) -> Float[Array, " B"]:
    """The weights of the rows in the sentence-pair loss of an objective; 0 if it has none."""
    if not objective.pair_weight or targets.task_weights is None:
        return jnp.zeros(len(targets.labels))
    return targets.task_weights


def assigned(objective: Objective, batch: Batch) -> Int[Array, " B"]:
    """Which of an objective's plain objectives each row is of."""
    return objective.assign(batch) if isinstance(objective, Composite) else jnp.zeros(len(batch.tokens), jnp.int32)
