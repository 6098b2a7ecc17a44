"""What an objective really does to the data, measured on its first batches."""

import jax
import jax.numpy as jnp

from batch import Batch, Vocab
from data.batches import Stream
from objectives import Objective, places
from training.keys import named_key


def measured_corruption(
    objective: Objective, stream: Stream, vocab: Vocab, *, seed: int, batches: int = 8
) -> dict[str, float]:
    """Targets a row, the share of rows without any, and how targets are shown: as [MASK], as another token, as is."""

    def count(batch: Batch) -> dict[str, jax.Array]:
        inputs, targets = objective.prepare(batch, vocab, named_key(seed, "corruption"))
        used = targets.weights > 0
        place = places(objective, inputs, targets)
        shown = jnp.take_along_axis(inputs.tokens, place, axis=1, mode="clip")
        is_mask = shown == (-1 if vocab.mask is None else vocab.mask)
        here = jnp.take_along_axis(jnp.asarray(batch.tokens), place, axis=1, mode="clip")
        return {
            "rows": jnp.asarray(batch.document).any(axis=1).sum(),
            "without": (jnp.asarray(batch.document).any(axis=1) & ~used.any(axis=1)).sum(),
            "targets": used.sum(),
            "masked": (used & is_mask).sum(),
            "changed": (used & ~is_mask & (shown != here)).sum(),
            "kept": (used & ~is_mask & (shown == here)).sum(),
        }

    counted = jax.jit(count)
    sums: dict[str, float] = {}
    for step in range(min(batches, stream.steps_per_epoch)):
        for name, number in jax.device_get(counted(stream.batch(step))).items():
            sums[name] = sums.get(name, 0.0) + float(number)
    rows, targets = max(sums["rows"], 1.0), max(sums["targets"], 1.0)
    return {
        "targets_per_row": sums["targets"] / rows,
        "rows_without_targets": sums["without"] / rows,
        "shown_as_mask": sums["masked"] / targets,
        "shown_as_random": sums["changed"] / targets,
        "shown_as_is": sums["kept"] / targets,
    }
