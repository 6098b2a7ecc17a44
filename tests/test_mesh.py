"""A run is the same on any mesh, no device holds or computes the whole of it, and what cannot be split is refused."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.sharding import AbstractMesh

import cases
import commands
import eight_devices
from batch import InputError
from models import BertConfig, XlnetConfig
from models.parameters import initialize
from training import sharding
from training.config import MeshConfig, OptimizerConfig
from training.optimizer import make_optimizer
from training.sharding import (
    AXES,
    RULES,
    check_divisible,
    check_vocabulary,
    make_mesh,
    param_specs,
    place_params,
    put_params,
)
from training.state import TrainState, init_state, place_state
from training.step import make_train_step

EIGHT = {
    "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "PYTHONPATH": f"{commands.ROOT}:{commands.ROOT / 'tests'}",
}
MESH = AbstractMesh((2, 4, 2), AXES)
"""A mesh that nobody needs to have: enough to say what each device would hold."""


def shapes(config, optimizer=None, rows=8) -> TrainState:
    """The shapes of a state; of 264 tokens, as vocabularies are not small."""
    model, optimizer = cases.build(config, 264), optimizer or make_optimizer(OptimizerConfig())
    return jax.eval_shape(lambda: init_state(model, optimizer, rows, 0))


def names(config) -> list[str]:
    leaves = jax.tree_util.tree_leaves_with_path(
        jax.eval_shape(lambda: initialize(cases.build(config), jax.random.key(0)))
    )
    return [sharding.param_name(path) for path, _ in leaves]


@pytest.mark.parametrize("model", eight_devices.CASES)
def test_eight_devices_train_as_one_and_each_sees_only_its_part(model, tmp_path):
    config = commands.write_config(tmp_path)
    arguments = [sys.executable, str(commands.ROOT / "tests" / "eight_devices.py"), str(config), model]
    done = subprocess.run(arguments, capture_output=True, text=True, env=os.environ | EIGHT)
    assert done.returncode == 0, done.stderr
    assert "rematerialization" not in done.stderr, "XLA had to bring rows to one place in order to split them anew"
    found = json.loads(done.stdout)
    one, several = found["one"], found["several"]
    assert_same_numbers(one["records"], several["records"])
    off = {name: far for name, far in found["far"].items() if far > 1e-5 and "['key']['bias']" not in name}
    assert not off, off
    assert several["born"] == several["ended"], "a step moved something"
    split = {name: shape for name, shape in one["born"].items() if several["born"][name] != shape}
    assert any("mu" in name and "kernel" in name for name in split)
    assert_never_whole(split, set(several["computed"]), set(one["computed"]))
    rows = {shape for shape in one["computed"] if is_of_rows(shape, model)}
    assert rows and not rows & set(several["computed"]), "a device computes rows of others"


def assert_same_numbers(records, others):
    assert len(records) == len(others) == eight_devices.STEPS
    for record, other in zip(records, others, strict=True):
        assert record.keys() == other.keys() and {"loss", "gradient_norm", "targets"} <= record.keys()
        assert record == pytest.approx(other, abs=1e-5)


def assert_never_whole(split, computed, alone):
    """No device has the whole of a leaf that is split; a table without layers is gathered where it is used."""
    stacked = {",".join(map(str, shape)) for shape in split.values() if len(shape) > 2}
    assert stacked & alone, "the shapes are those that one device computes"
    assert not stacked & computed


def is_of_rows(shape, model) -> bool:
    """Whether an array has all rows of a batch, or of a microbatch, in front."""
    groups, _ = eight_devices.CASES[model]
    rows = eight_devices.ROWS // groups.get("optimizer", {}).get("accumulate", 1)
    return shape.count(",") >= 2 and shape.startswith(f"{rows},")


@pytest.mark.parametrize("model", cases.MODELS)
def test_every_matrix_is_split_over_fsdp_and_those_of_a_layer_over_tensor_too(model):
    state = shapes(cases.MODELS[model])
    placed = place_state(state, MESH)
    for (path, leaf), place in zip(
        jax.tree_util.tree_leaves_with_path((state.params, state.opt_state)),
        jax.tree.leaves((placed.params, placed.opt_state)),
        strict=True,
    ):
        name, held = sharding.param_name(path), place.shard_shape(leaf.shape)
        layer, matrix = name.startswith("layers/"), name.endswith(("kernel", "table")) and "decision" not in name
        parts = leaf.size // int(np.prod(held))
        tensor = layer or name in ("tokens/table", "output/table")
        assert parts == (1 if not matrix else 8 if tensor else 4), name
        assert not layer or held[0] == leaf.shape[0], "the axis of the layers is what the scan goes along"


def test_memory_is_split_by_rows_its_second_axis():
    state = shapes(cases.MODELS["xlnet_memory"], rows=16)
    memory, place = state.memory, place_state(state, MESH).memory
    assert place.hidden.shard_shape(memory.hidden.shape) == (memory.hidden.shape[0], 2, *memory.hidden.shape[2:])
    assert place.valid.shard_shape(memory.valid.shape) == (2, memory.valid.shape[1])
    assert place.document == place.valid


def test_every_rule_places_a_parameter_of_some_model():
    unusual = XlnetConfig(tied_biases=True, pair_head=True, norm_position="pre", tied=False)
    variants = [*cases.MODELS.values(), BertConfig(norm_position="pre"), unusual]
    found = {spec for config in variants for spec in names(config)}
    found |= {"task/out/kernel", "features/weight"}  # tests/test_task_models.py, tests/test_adaptation.py
    assert not [rule for rule in RULES if not any(re.fullmatch(rule, name) for name in found)]


def test_a_rule_that_places_nothing_and_a_parameter_without_one_are_refused(monkeypatch):
    found = names(cases.MODELS["gpt"])
    monkeypatch.setitem(RULES, "layers/mlp/upp/kernel", RULES["layers/mlp/(up|gate)/kernel"])
    with pytest.raises(InputError, match="the rule layers/mlp/upp/kernel matches no parameter"):
        param_specs(found)
    with pytest.raises(InputError, match="tokens/scale is placed by 0 rules"):
        param_specs([*found, "tokens/scale"])
    monkeypatch.setitem(RULES, "layers/mlp/.+", RULES["query"])
    with pytest.raises(InputError, match="is placed by 2 rules"):
        param_specs(found)


def test_parameters_of_the_host_come_to_lie_as_those_that_are_born():
    params = {"tokens": {"table": np.zeros((8, 4), np.float32)}}
    one = jax.make_mesh((1, 1, 1), AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3)
    assert jax.tree.leaves(put_params(params, one))[0].sharding == jax.tree.leaves(place_params(params, one))[0]


@pytest.mark.parametrize(
    ("mesh", "shape"),
    [(MeshConfig(), (8, 1, 1)), (MeshConfig(4, 2), (4, 2, 1)), (MeshConfig(fsdp=2, tensor=2), (2, 2, 2))],
)
def test_the_axis_of_data_takes_what_the_others_leave(mesh, shape, monkeypatch):
    asked, stand_in = [], jax.make_mesh((1, 1, 1), AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3)
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    monkeypatch.setattr(jax, "make_mesh", lambda *arguments, **_: asked.append(arguments) or stand_in)
    assert make_mesh(mesh) is stand_in and asked == [(shape, AXES)]


@pytest.mark.parametrize(
    ("mesh", "sentence"),
    [
        (MeshConfig(data=4), "make 4 devices of 8; set mesh.data=8, or 0"),
        (MeshConfig(data=4, fsdp=4), "make 16 devices of 8; set mesh.data=2"),
        (MeshConfig(fsdp=3), "mesh.fsdp=3 and mesh.tensor=1: their product must divide the number of devices"),
    ],
)
def test_a_mesh_that_is_not_that_of_the_devices_is_refused(mesh, sentence, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    with pytest.raises(InputError, match=sentence):
        make_mesh(mesh)


def test_a_single_device_has_no_mesh():
    assert make_mesh(MeshConfig()) is None is make_mesh(MeshConfig(data=1))


def test_the_command_refuses_more_devices_than_there_are(tmp_path):
    config = commands.write_config(tmp_path)
    mesh = ("--config.mesh.data=4", "--config.mesh.fsdp=2")
    done = commands.run("train.py", f"--config={config}:gpt", f"--workdir={tmp_path / 'run'}", *mesh)
    assert (
        "make 8 devices of 1; set mesh.data=0" not in done.sentence and "divide the number of devices" in done.sentence
    )


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ({"data": {"batch_size": 12}}, "data.batch_size=12: must be a multiple of 8"),
        ({"optimizer": {"accumulate": 2}, "data": {"batch_size": 24}}, "data.batch_size=24: must be a multiple of 16"),
        ({"model": {"model_dim": 18, "num_heads": 2}}, "model.model_dim=18: must be a multiple of mesh.fsdp=4"),
        ({"model": {"model_dim": 36, "num_heads": 3}}, "model.num_heads=3: must be a multiple of mesh.tensor=2"),
        ({"model": {"mlp_dim": 33}}, "model.mlp_dim=33: must be a multiple of mesh.tensor=2"),
    ],
)
def test_what_an_axis_does_not_divide_is_refused_by_name(groups, sentence, tmp_path):
    groups = {"data": {"batch_size": 16}, **groups}
    with pytest.raises(InputError, match=sentence):
        check_divisible(commands.experiment(commands.write_config(tmp_path), "gpt", **groups), MESH)


def test_a_vocabulary_that_tensor_does_not_divide_is_refused():
    check_vocabulary(30_522, MESH)
    with pytest.raises(InputError, match="must divide the vocabulary, which has 50257 tokens"):
        check_vocabulary(50_257, MESH)


def test_no_axis_is_negative_or_empty():
    with pytest.raises(InputError, match="data=-1: must be at least 0"):
        MeshConfig(data=-1)
    with pytest.raises(InputError, match="fsdp=0: must be at least 1"):
        MeshConfig(fsdp=0)


@pytest.mark.parametrize("model", ["bert", "xlnet_memory"])
def test_rows_layers_and_gradients_are_held_in_their_places(model):
    """Whatever XLA would choose by itself; what enters a layer in the body of the scan, forwards and backwards."""
    config = cases.MODELS[model]
    objective, batch = cases.OBJECTIVES["masked"], cases.text(config)
    optimizer = make_optimizer(OptimizerConfig())
    mesh = jax.make_mesh((1, 1, 1), AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3)
    state = jax.eval_shape(lambda: init_state(cases.build(config), optimizer, len(batch.tokens), 0))
    held = []
    for each in (None, mesh):
        step = make_train_step(cases.build(config), objective, cases.VOCAB, optimizer, mesh=each)
        held.append(constraints(jax.make_jaxpr(step)(state, batch, 0).jaxpr))
    rows, split = (*batch.tokens.shape, config.model_dim), ("data", "fsdp")
    assert not held[0] and held[1].count((True, rows, split)) >= 2
    assert (False, batch.tokens.shape, split) in held[1], "what the objective shows"
    up = state.params["layers"]["mlp"]["up"]["kernel"].shape
    assert (False, up, None) in held[1], "gradients"


def constraints(jaxpr, inside=False) -> list[tuple[bool, tuple[int, ...], Any]]:
    """What is held in place: whether inside of a scan, its shape, and what splits its first axis."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "sharding_constraint":
            spec = equation.params["sharding"].spec
            found.append((inside, equation.outvars[0].aval.shape, spec[0] if len(spec) else None))
        for inner in jaxprs_in_params(equation.params):
            found += constraints(inner, inside or equation.primitive.name == "scan")
    return found
