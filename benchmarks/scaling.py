"""What each device holds, computes and sends in one step, counted from shapes and sharding rules; prints the table.

JAX_PLATFORMS=cpu python -m benchmarks.scaling

Nothing here is measured. Shapes and places are those that training uses; what XLA does with them was read off a step
compiled for eight devices: inside the scan, a layer's parameters are gathered over `fsdp`, once forwards and once
backwards, their gradients are summed over `fsdp` and `data` in every microbatch, and `tensor` sums two activations
forwards and four backwards.
"""

import dataclasses
from collections.abc import Iterable

import jax
from jax.sharding import AbstractMesh, NamedSharding

from configs import published
from models import build_model
from models.flops import training_flops
from training.config import Experiment, MeshConfig
from training.optimizer import make_optimizer
from training.sharding import AXES, AnyMesh, check_divisible, check_vocabulary, param_name
from training.state import TrainState, init_state, place_state

NUMBER = 4
"""Bytes of a float32, which is what is kept and what is sent."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A published size on so many devices."""

    name: str
    experiment: Experiment
    vocabulary: int
    predictions: int  # P, of each row

    @property
    def sizes(self) -> dict[str, int]:
        mesh = self.experiment.mesh
        return {"data": mesh.data, "fsdp": mesh.fsdp, "tensor": mesh.tensor}

    @property
    def mesh(self) -> AnyMesh:
        return AbstractMesh(tuple(self.sizes.values()), AXES)

    @property
    def rows(self) -> int:
        """Rows of a microbatch on one device."""
        experiment, mesh = self.experiment, self.experiment.mesh
        return experiment.data.batch_size // (mesh.data * mesh.fsdp * experiment.optimizer.accumulate)


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one device; bytes, but for `flops`. What is sent is so in each step, all microbatches together."""

    state: int  # parameters, moments and memory
    gradients: int
    gathered: int  # parameters of one layer and those outside of layers, each with its gradient, no longer over fsdp
    activations: int  # what the backward pass finds, and the scores of one layer; logits
    sent: dict[str, float]  # along each axis of the mesh
    flops: float

    @property
    def held(self) -> int:
        return self.state + self.gradients + self.gathered + self.activations


def cost(plan: Plan) -> Cost:
    """What a device holds, computes and sends."""
    experiment, mesh = plan.experiment, plan.mesh
    check_divisible(experiment, mesh)
    check_vocabulary(plan.vocabulary, mesh)
    state = state_shapes(plan)
    places = place_state(state, mesh)
    gathered = gathered_sizes(state.params, places.params)
    layers, outside = (
        sum(size for name, size in gathered.items() if in_layers(name) == each) for each in (True, False)
    )
    return Cost(
        state=held(jax.tree.leaves(state), jax.tree.leaves(places)),
        gradients=held(jax.tree.leaves(state.params), jax.tree.leaves(places.params)),
        gathered=2 * NUMBER * (layers // experiment.model.num_layers + outside),
        activations=activation_bytes(plan),
        sent=sent_bytes(plan, layers, outside),
        flops=training_flops(
            experiment.model,
            plan.vocabulary,
            experiment.data.batch_size,
            experiment.data.length,
            plan.predictions,
            query_stream=experiment.objective.query_stream,
        )
        / mesh.size,
    )


def state_shapes(plan: Plan) -> TrainState:
    """Shapes of the whole state."""
    experiment = plan.experiment
    model, optimizer = build_model(experiment.model, plan.vocabulary), make_optimizer(experiment.optimizer)
    return jax.eval_shape(lambda: init_state(model, optimizer, experiment.data.batch_size, 0))


def held(leaves: Iterable[jax.ShapeDtypeStruct], places: Iterable[NamedSharding]) -> int:
    """Bytes of one device's parts."""
    total = 0
    for leaf, place in zip(leaves, places, strict=True):
        part = jax.ShapeDtypeStruct(place.shard_shape(leaf.shape), leaf.dtype)
        total += part.size * leaf.dtype.itemsize
    return total


def gathered_sizes(params: dict, places: dict) -> dict[str, int]:
    """Numbers in each parameter as rows need it: whole but for what `tensor` keeps apart."""
    leaves, found = jax.tree_util.tree_leaves_with_path(params), {}
    for (path, leaf), place in zip(leaves, jax.tree.leaves(places), strict=True):
        parts = place.mesh.shape["tensor"] if "tensor" in place.spec else 1
        found[param_name(path)] = leaf.size // parts
    return found


def in_layers(name: str) -> bool:
    return name.startswith("layers/")


def activation_bytes(plan: Plan) -> int:
    """What the forward pass of a microbatch leaves with remat=all, a layer computed again from it, and the logits.

    With remat=all that is the rows that enter each layer. Of the layer: queries, keys, values, what attention and the
    feed-forward block make of them, and four arrays of scores.
    """
    model, rows, tensor = plan.experiment.model, plan.rows, plan.experiment.mesh.tensor
    length = plan.experiment.data.length
    queries = length + (plan.predictions if plan.experiment.objective.query_stream else 0)
    keys = length + model.memory_length
    entering = model.num_layers * queries * model.model_dim
    layer = 4 * queries * model.model_dim + 2 * (keys * model.model_dim + queries * model.mlp_dim) // tensor
    scores = 4 * (model.num_heads // tensor) * queries * keys
    logits = 2 * plan.predictions * plan.vocabulary // tensor
    return NUMBER * rows * (entering + max(layer + scores, logits))


def sent_bytes(plan: Plan, layers: int, outside: int) -> dict[str, float]:
    """What one device sends along each axis in a step, by rings: an all-gather (n-1)/n of its result, a sum twice that.

    `layers` and `outside` count parameters without `fsdp`. Over `fsdp` they are gathered twice and once, and gradients
    are summed where they are kept.
    """
    experiment, size = plan.experiment, plan.sizes
    share = {axis: (number - 1) / number for axis, number in size.items()}
    model, microbatches = experiment.model, experiment.optimizer.accumulate
    queries = experiment.data.length + (plan.predictions if experiment.objective.query_stream else 0)
    activation = plan.rows * queries * model.model_dim
    return {
        "fsdp": NUMBER * microbatches * share["fsdp"] * (3 * layers + 2 * outside),
        "data": NUMBER * microbatches * share["data"] * 2 * (layers + outside) / size["fsdp"],
        "tensor": NUMBER * microbatches * share["tensor"] * 2 * 6 * model.num_layers * activation,
    }


def planned(name: str, devices: int) -> Plan:
    """The plan of docs/scaling.md: `fsdp` within a host of eight, `data` across hosts, rows that fit at a time."""
    experiment, vocabulary, predictions, rows = {
        "base": (published.xlnet(12, 12, 768), 32_000, 85, 32),
        "large": (published.xlnet(24, 16, 1024), 32_000, 85, 16),
        "1.3B": (published.gpt(24, 16, 2048), 50_257, 1024, 4),
    }[name]
    mesh = MeshConfig(data=devices // 8, fsdp=8)
    accumulate = max(1, experiment.data.batch_size // (devices * rows))
    optimizer = dataclasses.replace(experiment.optimizer, accumulate=accumulate)
    return Plan(
        name, dataclasses.replace(experiment, mesh=mesh, optimizer=optimizer, remat="all"), vocabulary, predictions
    )


def row(plan: Plan) -> str:
    """A line of the table."""
    found, gb = cost(plan), 1e9
    mesh, optimizer = plan.experiment.mesh, plan.experiment.optimizer
    numbers = [found.state, found.gradients, found.gathered, found.activations, found.held]
    cells = [
        plan.name,
        str(plan.mesh.size),
        f"{mesh.data} x {mesh.fsdp}",
        f"{optimizer.accumulate} x {plan.rows}",
        *(f"{number / gb:.2f}" for number in numbers),
        *(f"{found.sent[axis] / gb:.1f}" for axis in ("fsdp", "data")),
        f"{found.flops / 1e12:,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """Base, large and 1.3B on 8, 64 and 512 devices."""
    head = (
        "| size | devices | data x fsdp | microbatches x rows | state | gradients | gathered | activations | together "
    )
    head += "| sent over fsdp | over data | TFLOP |"
    line = "| --- |" + " ---: |" * 11
    plans = [planned(name, devices) for name in ("base", "large", "1.3B") for devices in (8, 64, 512)]
    return "\n".join([head, line, *map(row, plans)])


if __name__ == "__main__":
    print(table())
