"""One objective after the other in one run, such as causal, then masked (Gisserot-Boukhlef et al. 2025)."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from batch import Batch, InputError
from objectives.base import Objective
from objectives.composite import Composite, assigned, plains


@dataclasses.dataclass(frozen=True)
class Staged(Composite):
    """Trains on one objective after the other, with one optimizer, schedule and memory.

    Stage i ends before step `until[i]`; the last one does not end. Text that is not read by a training step, held-out
    text above all, is asked as in the last stage, and so is the trained model by every scorer.
    """

    parts: tuple[Objective, ...]  # any objectives, mixtures too
    until: tuple[int, ...]  # steps, one fewer than parts

    def __post_init__(self):
        super().__post_init__()
        steps = (0, *self.until)
        if len(steps) != len(self.parts) or any(b <= a for a, b in itertools.pairwise(steps)):
            raise InputError(
                f"objective.until={self.until}: must be {len(self.parts) - 1} increasing numbers of steps above 0, one "
                "for each part but the last."
            )

    @property
    def reads(self) -> tuple[str, ...]:
        return self.parts[-1].reads

    def check(self, batch_size: int, total_steps: int) -> None:
        if max(self.until, default=0) >= total_steps:
            raise InputError(
                f"objective.until={self.until}: the last stage would not begin within "
                f"optimizer.total_steps={total_steps}; train for longer, or end the stages before it sooner."
            )
        for part in self.parts:
            if isinstance(part, Composite):
                part.check(batch_size, total_steps)

    def assign(self, batch: Batch) -> Int[Array, " B"]:
        before = np.cumsum([0, *(len(plains(part)) for part in self.parts)])
        own = [int(first) + assigned(part, batch) for first, part in zip(before, self.parts, strict=False)]
        if batch.step is None:
            return own[-1]
        stage = (jnp.asarray(batch.step)[:, None] >= jnp.asarray(self.until)[None]).sum(axis=1)
        return jax.vmap(jax.lax.select_n)(stage, *own)
