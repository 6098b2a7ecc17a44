"""What the next step cannot recompute: the step, the parameters, the optimizer's moments, the memory."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh
from jaxtyping import Array, Int

from batch import Memory
from models import Model
from models.parameters import initialize
from training.keys import named_key
from training.sharding import AnyMesh, place_memory, place_params, put_params


@struct.dataclass(kw_only=True)
class TrainState:
    """No random key, no data iterator, no schedule: those are functions of the step."""

    step: Int[Array, ""]
    params: Any
    opt_state: Any
    memory: Memory | None


Start = Callable[[Any], TrainState]
"""The state before the first step: from a seed, or from parameters."""


def make_start(
    model: Model, optimizer: optax.GradientTransformation, batch_size: int, mesh: Mesh | None = None
) -> Start:
    """The jitted function of a seed, which is traced, or of parameters; on a mesh, every part is born in its place."""

    def start(given: Any) -> TrainState:
        params = given if isinstance(given, dict) else initialize(model, named_key(given, "initialization"))
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=optimizer.init(params),
            memory=model.init_memory(batch_size),
        )

    if mesh is None:
        return jax.jit(start)
    placed = jax.jit(start, out_shardings=place_state(jax.eval_shape(start, 0), mesh))
    return lambda given: placed(put_params(given, mesh) if isinstance(given, dict) else given)


def place_state(state: TrainState, mesh: AnyMesh) -> TrainState:
    """The sharding of every leaf of a state."""
    params = place_params(dataclasses.replace(state, memory=None), mesh)
    return dataclasses.replace(params, memory=place_memory(state.memory, mesh))


def init_state(
    model: Model, optimizer: optax.GradientTransformation, batch_size: int, seed: int, params: Any = None
) -> TrainState:
    """The state before the first step, from `params` if given and from the seed otherwise."""
    return make_start(model, optimizer, batch_size)(seed if params is None else params)


def abstract_state(
    model: Model, optimizer: optax.GradientTransformation, batch_size: int, mesh: Mesh | None = None
) -> TrainState:
    """Shapes, types and placement of the state, for a checkpoint to be read into."""
    shapes = jax.eval_shape(lambda: init_state(model, optimizer, batch_size, 0))
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    places = jax.tree.map(lambda _: device, shapes) if mesh is None else place_state(shapes, mesh)
    return jax.tree.map(lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes, places)


def num_parameters(params: Any) -> int:
    """How many numbers a model learns."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
