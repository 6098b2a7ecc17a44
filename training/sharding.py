"""Where arrays lie when there are several devices: one table, from the name of a parameter to axes of the mesh.

Rows of a batch are split over `data` and `fsdp`. Parameters and the optimizer's moments are split over `fsdp` along the
model's width, so that no device holds them whole and each layer is gathered when it is its turn (Rajbhandari et al.
2020, stage 3), and over `tensor` along heads, feed-forward width and vocabulary (Shoeybi et al. 2019). The axis of
stacked layers stays whole: it is what the scan goes along. Models know nothing of this.

`mesh` is None wherever there is one device, and nothing here does anything then.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from batch import Batch, InputError, Memory
from models.trunk import ENTERING
from training.config import Experiment, MeshConfig

AXES = ("data", "fsdp", "tensor")
AnyMesh = Mesh | AbstractMesh
ROWS = ("data", "fsdp")
"""The axes that rows of a batch are split over."""

RULES = {
    "tokens/table": P("tensor", "fsdp"),
    "output/table": P("tensor", "fsdp"),
    "positions/table": P(None, "fsdp"),
    "segments/table": P(None, "fsdp"),
    "layers/attention/(query|key|value|distance)/kernel": P(None, "fsdp", "tensor"),
    "layers/attention/out/kernel": P(None, "tensor", None, "fsdp"),
    "layers/mlp/(up|gate)/kernel": P(None, "fsdp", "tensor"),
    "layers/mlp/down/kernel": P(None, "tensor", "fsdp"),
    "layers/.+(bias|scale|segment|(update|adapter)/(down|up)/kernel)": P(),
    "head/transform/kernel": P("fsdp"),
    "head/(.+/)?(bias|scale)": P(),
    "pair_head/pooler/kernel": P("fsdp"),
    "pair_head/(decision/kernel|.+/bias)": P(),
    "task/.+": P(),
    "features/.+": P(),
    "norm/(bias|scale)": P(),
    "final_norm/(bias|scale)": P(),
    "biases/.+": P(),
    "query": P(),
    "bias": P(),
}
"""Every parameter of every model, by a regular expression for its whole name. Vectors, a thousandth of a model, and the
narrow kernels that fine-tuning adds are whole everywhere: to gather one costs more than to keep it."""


def make_mesh(config: MeshConfig) -> Mesh | None:
    """The mesh of all devices, those of other hosts included; None for a single one.

    Raises InputError where the axes do not make up the number of devices.
    """
    devices, model = jax.device_count(), config.fsdp * config.tensor
    if devices % model:
        raise InputError(
            f"mesh.fsdp={config.fsdp} and mesh.tensor={config.tensor}: their product must divide the number of "
            f"devices, which is {devices}."
        )
    data = config.data or devices // model
    if data * model != devices:
        raise InputError(
            f"mesh.data={data}, mesh.fsdp={config.fsdp} and mesh.tensor={config.tensor}: make {data * model} devices "
            f"of {devices}; set mesh.data={devices // model}, or 0 for all that the others leave."
        )
    if devices == 1:
        return None
    return jax.make_mesh((data, config.fsdp, config.tensor), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def check_divisible(experiment: Experiment, mesh: AnyMesh) -> None:
    """Raises InputError where an axis of the mesh does not divide what is split over it; see `check_vocabulary`."""
    model, rows = experiment.model, mesh.shape["data"] * mesh.shape["fsdp"]
    data, accumulate = experiment.data, experiment.optimizer.accumulate
    if data.batch_size % (rows * accumulate):
        raise InputError(
            f"data.batch_size={data.batch_size}: must be a multiple of {rows * accumulate}, as rows are split over "
            f"{rows} devices (mesh.data={mesh.shape['data']}, mesh.fsdp={mesh.shape['fsdp']}) and "
            f"optimizer.accumulate={accumulate} microbatches."
        )
    for field, axis in (("model_dim", "fsdp"), ("num_heads", "tensor"), ("mlp_dim", "tensor")):
        if getattr(model, field) % mesh.shape[axis]:
            raise InputError(
                f"model.{field}={getattr(model, field)}: must be a multiple of mesh.{axis}={mesh.shape[axis]}, which "
                "splits it; change one of them."
            )


def check_vocabulary(size: int, mesh: AnyMesh) -> None:
    """Raises InputError where `tensor` does not divide the vocabulary.

    It is not padded: the shape of a parameter, and so its checkpoint, would depend on the mesh.
    """
    if size % mesh.shape["tensor"]:
        raise InputError(
            f"mesh.tensor={mesh.shape['tensor']}: must divide the vocabulary, which has {size} tokens; use mesh.fsdp "
            "instead, or train a tokenizer of another data.vocab_size."
        )


def param_specs(names: Iterable[str]) -> dict[str, P]:
    """Which axes split each parameter of a model, by its name.

    Raises InputError on a parameter that no rule or more than one places, and on a rule for a part of this model that
    places nothing there: a misspelled rule would leave its parameter whole on every device.
    """
    names = list(names)
    used = {name: [rule for rule in RULES if re.fullmatch(rule, name)] for name in names}
    for name, rules in used.items():
        if len(rules) != 1:
            raise InputError(
                f"training/sharding.py: {name} is placed by {len(rules)} rules; let one of RULES match its name."
            )
    parts, idle = {name.split("/")[0] for name in names}, set(RULES) - {rules[0] for rules in used.values()}
    for rule in idle:
        if rule.split("/")[0] in parts:
            raise InputError(f"training/sharding.py: the rule {rule} matches no parameter of this model; correct it.")
    return {name: RULES[rules[0]] for name, rules in used.items()}


def place_params(tree: Any, mesh: AnyMesh) -> Any:
    """The sharding of every leaf of parameters, or of an optimizer's state, which holds trees of the same keys.

    What has no name, such as a count of updates, is whole everywhere.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    names = [param_name(path) for path, _ in leaves]
    specs = {"": P(), **param_specs(dict.fromkeys(filter(None, names)))}
    return jax.tree.unflatten(structure, [NamedSharding(mesh, specs[name]) for name in names])


def param_name(path: tuple[Any, ...]) -> str:
    """The name of the parameter that a leaf belongs to: the dictionary keys on the way to it."""
    return "/".join(key.key for key in path if isinstance(key, jax.tree_util.DictKey))


def put_params(params: Any, mesh: Mesh) -> Any:
    """Parameters of the host in their places, the same on every process; no device sees more than its part."""
    put = lambda x, place: jax.make_array_from_callback(x.shape, place, lambda index: x[index])  # noqa: E731
    return jax.tree.map(put, params, place_params(params, mesh))


def place_memory(memory: Memory | None, mesh: AnyMesh) -> Memory | None:
    """The sharding of a memory, whose batch axis is the second of `hidden`."""
    if memory is None:
        return None
    hidden: Any = NamedSharding(mesh, P(None, ROWS))
    rows: Any = NamedSharding(mesh, P(ROWS))
    return Memory(hidden=hidden, valid=rows, document=rows)


def place_batch(batch: Batch, mesh: Mesh | None) -> Batch:
    """A batch of the host on its devices: each process gives the whole one, and its devices get their own rows."""
    if mesh is None:
        return jax.device_put(batch)
    rows = NamedSharding(mesh, P(ROWS))
    return jax.tree.map(lambda x: jax.make_array_from_callback(x.shape, rows, lambda index: x[index]), batch)


def hold_params(tree: Any, mesh: Mesh | None) -> Any:
    """Inside a jitted function: parameters, or gradients, where they belong."""
    return tree if mesh is None else jax.lax.with_sharding_constraint(tree, place_params(tree, mesh))


def gather_params(params: Any, mesh: Mesh | None) -> Any:
    """Inside a jitted function: parameters outside of the layers as the rows need them, no longer split over `fsdp`."""
    if mesh is None:
        return params

    def gather(path: tuple[Any, ...], x: Any, place: NamedSharding) -> Any:
        if path[0].key == "layers":
            return x
        axes = [None if axis == "fsdp" else axis for axis in place.spec]
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, P(*axes)))

    return jax.tree_util.tree_map_with_path(gather, params, place_params(params, mesh))


def hold_rows(tree: Any, mesh: Mesh | None) -> Any:
    """Inside a jitted function: arrays with the batch axis in front, split over it."""
    return tree if mesh is None else jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, P(ROWS)))


@contextlib.contextmanager
def layers_hold_rows(mesh: Mesh | None) -> Iterator[None]:
    """While a model is traced: what enters each of its layers is split by rows, forwards and backwards."""
    token = ENTERING.set(lambda rows: hold_rows(rows, mesh))
    try:
        yield
    finally:
        ENTERING.reset(token)
