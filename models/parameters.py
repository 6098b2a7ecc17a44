"""Declares parameters by shape and initializer, and draws their values by path.

Modules are built without computing anything: a parameter is a shape and an initializer until `initialize` gives it a
value. The key of a value is the hash of its path, then the layer's index, so that two models share an initial value
wherever path, shape and initializer agree, whatever else differs between them.
"""

import dataclasses
import math
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx, traverse_util
from jaxtyping import Array, Float, Key

Layer = TypeVar("Layer", bound=nnx.Module)
Initializer = Callable[[Key[Array, ""], tuple[int, ...]], Float[Array, "..."]]


@dataclasses.dataclass(frozen=True)
class Normal:
    std: float

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return self.std * jax.random.normal(key, shape)


@dataclasses.dataclass(frozen=True)
class TruncatedNormal:
    """A normal of scale `std` cut at two standard deviations; its own deviation is 0.88 `std`, as in BERT's release."""

    std: float

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return self.std * jax.random.truncated_normal(key, -2.0, 2.0, shape)


@dataclasses.dataclass(frozen=True)
class GlorotUniform:
    """Uniform on +-sqrt(6 / (rows + columns)), a vector counting as one row (Glorot and Bengio 2010)."""

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        rows, columns = (1, *shape)[-2:]
        limit = math.sqrt(6 / (rows + columns))
        return jax.random.uniform(key, shape, minval=-limit, maxval=limit)


@dataclasses.dataclass(frozen=True)
class Constant:
    number: float

    def __call__(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        del key
        return jnp.full(shape, self.number, jnp.float32)


ZEROS, ONES = Constant(0.0), Constant(1.0)


def parameter(shape: tuple[int, ...], initializer: Initializer) -> nnx.Param:
    """A float32 parameter that has no value yet."""
    return nnx.Param(jax.ShapeDtypeStruct(shape, jnp.float32), initializer=initializer, layers=0)


def stacked(module: Layer, num_layers: int) -> Layer:
    """`num_layers` copies of a module as one module whose parameters have a leading axis, ready for `jax.lax.scan`."""

    def grow(variable: nnx.Param) -> nnx.Variable:
        shape = (num_layers, *variable.get_value().shape)
        return variable.replace(jax.ShapeDtypeStruct(shape, jnp.float32), layers=num_layers)

    graphdef, params = nnx.split(module)
    is_variable = lambda leaf: isinstance(leaf, nnx.Variable)  # noqa: E731
    return nnx.merge(graphdef, jax.tree.map(grow, params, is_leaf=is_variable))


def path_key(key: Key[Array, ""], path: tuple[Any, ...]) -> Key[Array, ""]:
    """The key of the parameter at `path`."""
    return jax.random.fold_in(key, zlib.crc32("/".join(map(str, path)).encode()))


def abstract_params(model: Any) -> dict[str, Any]:
    """Shape and type of each of a model's parameters, nested as `initialize` nests their values."""
    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return traverse_util.unflatten_dict({tuple(map(str, path)): variable.get_value() for path, variable in flat})


def initialize(model: Any, key: Key[Array, ""]) -> dict[str, Any]:
    """The initial values of a model's parameters, as a nested dict; `nnx.merge(graphdef, values)` is the model."""

    def draw(path: tuple[Any, ...], variable: nnx.Param) -> Float[Array, "..."]:
        metadata, shape = variable.get_metadata(), variable.get_value().shape
        initializer, num_layers, own = metadata["initializer"], metadata["layers"], path_key(key, path)
        if not num_layers:
            return initializer(own, shape)
        return jax.vmap(lambda layer: initializer(jax.random.fold_in(own, layer), shape[1:]))(jnp.arange(num_layers))

    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return traverse_util.unflatten_dict({tuple(map(str, path)): draw(path, variable) for path, variable in flat})
