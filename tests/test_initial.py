"""A run that starts from another one: its tokenizer, its parameters, and longer or shorter windows."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import traverse_util

import commands
from batch import InputError
from training.build import build_run
from training.checkpoint import Checkpoints
from training.initial import POSITIONS, initial_params, initial_tokenizer
from training.state import init_state
from training.workdir import claim


def silent(line):
    del line


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return commands.write_config(tmp_path_factory.mktemp("initial"))


@pytest.fixture(scope="module")
def source(config):
    """The workdir of a run of GPT with a tokenizer of its own, saved at step 7."""
    experiment = commands.experiment(config, "gpt", data={"tokenizer": "unigram", "vocab_size": 300})
    run, workdir = build_run(experiment, silent), config.parent / "source"
    claim(workdir, experiment, run.prepared)
    with commands.quick(), Checkpoints(workdir) as checkpoints:
        checkpoints.save(7, init_state(run.model, run.optimizer, 4, seed=5))
    return workdir


def following(config, source, name="gpt", **groups):
    """The run of an experiment that starts from `source`, as train.py builds it."""
    experiment = dataclasses.replace(commands.experiment(config, name, **groups), init_from=str(source))
    return build_run(experiment, silent, initial_tokenizer(experiment))


def leaves(params):
    return {name: np.asarray(leaf) for name, leaf in traverse_util.flatten_dict(params, sep="/").items()}


def params_of(source):
    found = commands.stored(source, 7)
    return {name.removeprefix("params/"): leaf for name, leaf in found.items() if name.startswith("params/")}


def test_the_tokenizer_and_the_parameters_are_those_of_the_source(config, source):
    run, said = following(config, source), []
    found, expected = leaves(initial_params(run, said.append)), params_of(source)
    assert run.vocab.size == 300, "not the bytes of the config"
    assert found.keys() == expected.keys()
    assert all((found[name] == expected[name]).all() for name in expected)
    assert said == [f"parameters from {source}, step 7"]


def test_a_state_that_starts_from_parameters_keeps_them(config, source):
    run = following(config, source)
    with commands.quick():
        state = init_state(run.model, run.optimizer, 4, seed=0, params=initial_params(run, silent))
    assert int(state.step) == 0
    assert all((leaf == params_of(source)[name]).all() for name, leaf in leaves(state.params).items())
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert moments and not any(leaf.any() for leaf in moments)


@pytest.mark.parametrize("length", [24, 40])
def test_a_longer_position_table_repeats_the_one_it_has(config, source, length):
    run, said = following(config, source, data={"length": length}, model={"max_length": length}), []
    table = leaves(initial_params(run, said.append))[POSITIONS]
    known = params_of(source)[POSITIONS]
    assert table.shape == (length, 16)
    for position in range(length):
        assert (table[position] == known[position % 16]).all()
    assert said[1] == f"the position table is extended from 16 to {length} rows, which repeat the first 16"


def test_a_shorter_position_table_is_cut_and_said_so(config, source):
    run, said = following(config, source, data={"length": 8}, model={"max_length": 8}), []
    assert (leaves(initial_params(run, said.append))[POSITIONS] == params_of(source)[POSITIONS][:8]).all()
    assert said[1] == "the position table is cut from 16 to 8 rows"


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        ("bert", {}, "segments/table is missing"),
        ("xlnet", {}, "positions/table is not of this model"),
        ("gpt", {"mlp_dim": 32}, r"mlp/up/kernel is \[2, 16, 64\], expected \[2, 16, 32\]"),
        ("gpt", {"model_dim": 32}, r"tokens/table is \[300, 16\], expected \[300, 32\]"),
        ("gpt", {"num_layers": 3}, r"expected \[3, "),
    ],
)
def test_parameters_of_another_model_are_refused_by_name(config, source, model, fields, message):
    run = following(config, source, model, model=fields)
    with pytest.raises(InputError, match=rf"init_from={source}: is of another model: .*{message}") as caught:
        initial_params(run, silent)
    assert "\n" not in str(caught.value)


def test_a_source_without_a_run_or_without_a_checkpoint_is_refused(config, source, tmp_path):
    with pytest.raises(InputError, match=r"init_from=.*: holds no run; name the workdir"):
        following(config, tmp_path)
    run = following(config, source)
    claim(tmp_path / "begun", run.experiment, run.prepared)
    with pytest.raises(InputError, match="holds no checkpoint"):
        initial_params(following(config, tmp_path / "begun"), silent)


def test_without_a_source_there_is_nothing_to_start_from(config):
    experiment = commands.experiment(config, "gpt")
    assert initial_tokenizer(experiment) is None
    assert initial_params(build_run(experiment, silent), silent) is None
