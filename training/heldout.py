"""Held-out loss: a model's own objective on unseen text, beside the unigram baseline on the same targets."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int

from batch import Batch, Mean, Memory, Vocab, weighted_mean
from data.batches import Stream
from models import Model
from objectives import Objective
from training.keys import held_out_key
from training.sharding import gather_params, hold_rows, layers_hold_rows, place_batch, place_memory

EvalStep = Callable[[Any, Memory | None, Batch], tuple[dict[str, Mean], Memory | None]]


def unigram_surprise(counts: Int[np.ndarray, " V"]) -> Float[np.ndarray, " V"]:
    """-log p(token) in nats from training counts, one added to each: what a model knows that ignores all context."""
    smoothed = counts.astype(np.float64) + 1
    return (np.log(smoothed.sum()) - np.log(smoothed)).astype(np.float32)


def make_eval_step(
    model: Model,
    objective: Objective,
    vocab: Vocab,
    surprise: Float[np.ndarray, " V"],
    mesh: Mesh | None = None,
) -> EvalStep:
    """The jitted evaluation of one batch: no dropout, and the same corruption on every call."""
    graphdef, forget = nnx.graphdef(model), getattr(model, "forget", None)

    def eval_step(params: Any, memory: Memory | None, batch: Batch) -> tuple[dict[str, Mean], Memory | None]:
        inputs, targets = hold_rows(objective.prepare(batch, vocab, held_out_key()), mesh)
        memory = memory if memory is None or forget is None else forget(memory, batch.fresh)
        bound = nnx.merge(graphdef, gather_params(params, mesh))
        with layers_hold_rows(mesh):
            output = bound(inputs, memory)
        losses, metrics = objective.loss(bound, output, targets)
        baseline = weighted_mean(jnp.asarray(surprise)[targets.labels], targets.weights)
        return {**losses, **metrics, "unigram_loss": baseline}, output.memory

    if mesh is None:
        return jax.jit(eval_step)
    memory = place_memory(jax.eval_shape(lambda: model.init_memory(1)), mesh)
    return jax.jit(eval_step, out_shardings=(NamedSharding(mesh, PartitionSpec()), memory))


def start_memory(model: Model, batch_size: int, mesh: Mesh | None = None) -> Memory | None:
    """What the rows of a batch remember at first, each on its device."""
    if mesh is None:
        return model.init_memory(batch_size)
    start = lambda: model.init_memory(batch_size)  # noqa: E731
    return jax.jit(start, out_shardings=place_memory(jax.eval_shape(start), mesh))()


def held_out(
    eval_step: EvalStep,
    model: Model,
    params: Any,
    stream: Stream,
    batch_size: int,
    *,
    max_batches: int = 0,
    mesh: Mesh | None = None,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, float]:
    """Means over a held-out stream (its first `max_batches`, if positive), with a memory of its own.

    `loss` is in nats per target; `perplexity` is its exponential; `targets` counts what was predicted. `watch` is told
    how many batches are done.
    """
    total = min(max_batches or stream.steps_per_epoch, stream.steps_per_epoch)
    memory, sums = start_memory(model, batch_size, mesh), None
    for step in range(total):
        means, memory = eval_step(params, memory, place_batch(stream.batch(step), mesh))
        means = jax.tree.map(np.float64, jax.device_get(means))  # many batches: their sum outgrows float32
        sums = means if sums is None else {name: sums[name] + mean for name, mean in means.items()}
        watch(step + 1, total)
    assert sums is not None, "a held-out stream has at least one batch"
    values = {name: mean.value() for name, mean in sums.items()}
    return {**values, "perplexity": _exp(values["loss"]), "targets": float(sums["loss"].weight)}


def _exp(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf
