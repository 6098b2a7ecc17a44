"""The one training step, for every objective and every model."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key

from batch import Batch, Inputs, Mean, Memory, Targets, Vocab
from models import Model
from objectives import Objective
from objectives.base import Scales
from training.keys import named_key
from training.learned import Learned, keep_others, stop_others
from training.sharding import gather_params, hold_params, hold_rows, layers_hold_rows
from training.state import TrainState, make_start, place_state

Record = dict[str, Mean | Float[Array, ""]]
Seed = int | Int[Array, ""]
TrainStep = Callable[[TrainState, Batch, Seed], tuple[TrainState, Record]]
Descent = Callable[[Any, Inputs, Targets, Memory | None, Key[Array, ""]], tuple[Any, dict[str, Mean], Memory | None]]


def make_train_step(
    model: Model,
    objective: Objective,
    vocab: Vocab,
    optimizer: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    on_nonfinite: Literal["stop", "skip"] = "stop",
    mesh: Mesh | None = None,
    learned: Learned | None = None,
) -> TrainStep:
    """The jitted step, a function of state, batch and the run's seed; it consumes the state it is given.

    The seed is traced, so that runs that differ in nothing else are compiled once. The whole batch is corrupted at
    once, and every loss is divided by its weight in the whole batch, so that the number of microbatches changes nothing
    but rounding (and the draws of dropout). So does the mesh, if there is one, without exception. Parameters that are
    not `learned` stay as they are; the optimizer is one of `only_learned`.
    """
    graphdef, forget = nnx.graphdef(model), getattr(model, "forget", None)

    def train_step(state: TrainState, batch: Batch, seed: Seed) -> tuple[TrainState, Record]:
        inputs, targets = hold_rows(objective.prepare(batch, vocab, named_key(seed, "corruption")), mesh)
        memory = state.memory if state.memory is None or forget is None else forget(state.memory, batch.fresh)
        dropout = jax.random.fold_in(named_key(seed, "dropout"), state.step)
        descend = make_descent(graphdef, objective, objective.scales(targets), mesh, learned)
        if accumulate > 1:
            descend = accumulated(descend, accumulate)
        gradients, means, memory = descend(state.params, inputs, targets, memory, dropout)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = keep_others(optax.apply_updates(state.params, updates), state.params, learned, state.step)
        new = TrainState(step=state.step + 1, params=params, opt_state=opt_state, memory=memory)
        record = {**means, "gradient_norm": optax.tree.norm(gradients)}
        if on_nonfinite == "skip":
            new, record["skipped"] = unless_nonfinite(state, new, record)
        record["parameter_norm"] = optax.tree.norm(new.params)
        return new, {**record, "targets": (targets.weights > 0).sum().astype(jnp.float32)}

    if mesh is None:
        return jax.jit(train_step, donate_argnums=0)
    state = place_state(jax.eval_shape(make_start(model, optimizer, 1), 0), mesh)
    return jax.jit(train_step, donate_argnums=0, out_shardings=(state, NamedSharding(mesh, PartitionSpec())))


def unless_nonfinite(old: TrainState, new: TrainState, record: Record) -> tuple[TrainState, Float[Array, ""]]:
    """The new state, and 0; where the loss or the gradient is not finite, the old one a step later, and 1."""
    loss, gradient_norm = record["loss"], record["gradient_norm"]
    assert isinstance(loss, Mean) and not isinstance(gradient_norm, Mean)
    finite = jnp.isfinite(loss.total) & jnp.isfinite(gradient_norm)
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new, old)
    return kept.replace(step=new.step), 1.0 - finite


def make_descent(
    graphdef: Any, objective: Objective, scales: Scales, mesh: Mesh | None = None, learned: Learned | None = None
) -> Descent:
    """Gradient, losses and metrics, and the new memory, of some rows of a batch."""

    def scaled_loss(params, inputs, targets, memory, key):
        model = nnx.merge(graphdef, gather_params(stop_others(params, learned), mesh))
        with layers_hold_rows(mesh):
            output = model(inputs, memory, key=key)
        losses, metrics = objective.loss(model, output, targets)
        total = sum((scales[name] * mean.total for name, mean in losses.items()), jnp.zeros(()))
        return total, ({**losses, **metrics}, output.memory)

    def descend(params, inputs, targets, memory, key):
        gradients, (means, memory) = jax.grad(scaled_loss, has_aux=True)(params, inputs, targets, memory, key)
        return hold_params(gradients, mesh), means, memory

    return descend


def accumulated(descend: Descent, parts: int) -> Descent:
    """The same over `parts` microbatches, one after the other: gradients, sums and weights add up.

    Microbatch i holds the rows i, i + parts, ...: rows that lie on different devices stay there.
    """

    def in_parts(params, inputs, targets, memory, key):
        def part(carry, xs):
            inputs, targets, memory, index = xs
            gradients, means, memory = descend(params, inputs, targets, memory, jax.random.fold_in(key, index))
            return jax.tree.map(jnp.add, carry, (gradients, means)), memory

        rows = (split_rows(inputs, parts), split_rows(targets, parts), split_memory(memory, parts), jnp.arange(parts))
        first = [jax.tree.map(lambda x: x[0], part) for part in rows[:3]]
        shapes = jax.eval_shape(lambda: descend(params, first[0], first[1], first[2], key)[:2])
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        (gradients, means), memory = jax.lax.scan(part, zeros, rows)
        return gradients, means, join_memory(memory)

    return in_parts


def split_rows(tree: Any, parts: int, axis: int = 0) -> Any:
    """Every array with its batch axis [B] cut into [parts, B / parts], parts leading."""

    def split(x: Array) -> Array:
        shape = (*x.shape[:axis], x.shape[axis] // parts, parts, *x.shape[axis + 1 :])
        return jnp.moveaxis(x.reshape(shape), axis + 1, 0)

    return jax.tree.map(split, tree)


def split_memory(memory: Memory | None, parts: int) -> Memory | None:
    """The memory of each microbatch; `hidden` has its batch axis second."""
    if memory is None:
        return None
    rest = split_rows((memory.valid, memory.document), parts)
    return Memory(hidden=split_rows(memory.hidden, parts, axis=1), valid=rest[0], document=rest[1])


def join_memory(memory: Memory | None) -> Memory | None:
    """The inverse of `split_memory`."""
    if memory is None:
        return None

    def join(x: Array, axis: int) -> Array:
        parted = jnp.moveaxis(x, 0, axis + 1)
        return parted.reshape(*parted.shape[:axis], -1, *parted.shape[axis + 2 :])

    return Memory(hidden=join(memory.hidden, 1), valid=join(memory.valid, 0), document=join(memory.document, 0))
