"""What the next step cannot recompute: the step, the parameters, the optimizer's moments, the memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Int

from batch import Memory
from models import Model
from models.parameters import initialize
from training.keys import named_key


@struct.dataclass(kw_only=True)
class TrainState:
    """No random key, no data iterator, no schedule: those are functions of the step."""

    step: Int[Array, ""]
    params: Any
    opt_state: Any
    memory: Memory | None


Start = Callable[[Any], TrainState]
"""The state before the first step: from a seed, or from parameters."""


def make_start(model: Model, optimizer: optax.GradientTransformation, batch_size: int) -> Start:
    """The jitted function of a seed, which is traced, or of parameters."""

    def start(given: Any) -> TrainState:
        params = given if isinstance(given, dict) else initialize(model, named_key(given, "initialization"))
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=optimizer.init(params),
            memory=model.init_memory(batch_size),
        )

    return jax.jit(start)


def init_state(
    model: Model, optimizer: optax.GradientTransformation, batch_size: int, seed: int, params: Any = None
) -> TrainState:
    """The state before the first step, from `params` if given and from the seed otherwise."""
    return make_start(model, optimizer, batch_size)(seed if params is None else params)


def abstract_state(model: Model, optimizer: optax.GradientTransformation, batch_size: int) -> TrainState:
    """Shapes, types and placement of the state, for a checkpoint to be read into."""
    shapes = jax.eval_shape(lambda: init_state(model, optimizer, batch_size, 0))
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), shapes)


def num_parameters(params: Any) -> int:
    """How many numbers a model learns."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
