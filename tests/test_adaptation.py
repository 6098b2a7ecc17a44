"""Parts that are learned inside of a trunk that is not: where they start, what they compute, and that they learn."""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, traverse_util

import cases
import commands
import tasks
from batch import InputError
from data.task import TaskData
from finetuning import sources
from finetuning.adaptation import ADAPTATIONS
from finetuning.build import Pretrained, Recipe, build_task_run, encode, experiment_of
from finetuning.encoding import encode_labeled
from finetuning.rates import rates_of
from finetuning.run import TaskRun, make_predict
from finetuning.scoring import majority
from finetuning.start import num_task_parameters, task_model, without_memory
from finetuning.stream import padded
from finetuning.templates import template_of
from models import BertConfig
from models.adapters import Adapter
from objectives import Classification
from training.checkpoint import Checkpoints
from training.config import Experiment
from training.loop import train
from training.sharding import param_name, param_specs
from training.state import TrainState
from training.trainable import Programs

VOCAB, SETS = tasks.TOKENIZER.vocab, tasks.classification()
DATA = TaskData(task="yesno", labels=("no", "yes"), length=40, batch_size=4, shortest=40)
RANK, ALPHA, WIDTH, DIM, LAYERS = 3, 6.0, 5, tasks.TRUNK["model_dim"], tasks.TRUNK["num_layers"]
FIELDS: dict[str, dict[str, Any]] = {"lora": {"rank": RANK, "alpha": ALPHA}, "adapters": {"bottleneck": WIDTH}}


def leaves(params):
    return traverse_util.flatten_dict(params, sep="/")


class Reader(NamedTuple):
    """An adapted model without dropout: its scores of four examples, and the parameters that a seed draws."""

    scores: Any
    drawn: dict[str, jax.Array]


@functools.cache
def reader(family, adapt) -> Reader:
    data = dataclasses.replace(DATA, adapt=adapt, **FIELDS.get(adapt, {}))
    config, template = without_memory(tasks.CONFIGS[family]), template_of(tasks.CONFIGS[family])
    model = task_model(config, VOCAB.size, 2, pooled=template.pooled, precision="float32", remat="cheap", frozen=True)
    ADAPTATIONS[adapt].put(model, data)
    examples = encode_labeled(tasks.sentences(4, 0), data.labels, tasks.TOKENIZER, template, data.length)
    batch = padded(data, examples, np.arange(4), 0, template.pad, VOCAB.pad)
    program = make_predict(model, Classification("left" if family == "gpt" else "both"), VOCAB)

    def scores(params):
        with commands.quick():
            return np.asarray(program(traverse_util.unflatten_dict(params, sep="/"), batch)[1])[:, 0]

    return Reader(scores, {"/".join(map(str, path)): drawn(each) for path, each in nnx.to_flat_state(nnx.state(model))})


def drawn(variable):
    """The value that a parameter starts from."""
    return variable.get_metadata()["initializer"](jax.random.key(0), variable.get_value().shape)


def redrawn(params, seed):
    """Values at which every dependence is visible."""
    rng, nested = np.random.default_rng(seed), traverse_util.unflatten_dict(params, sep="/")
    return leaves(jax.tree_util.tree_map_with_path(lambda path, value: cases.redraw(path, value, rng), nested))


@functools.cache
def loud(family):
    """Parameters of a model as it was pretrained, under a head."""
    return redrawn(reader(family, "full").drawn, 0)


PUT = [("bert", "lora"), ("xlnet", "lora"), ("bert", "adapters"), ("gpt", "adapters"), ("xlnet", "adapters")]


@pytest.mark.parametrize(("family", "adapt"), PUT)
def test_an_adapted_model_starts_as_the_pretrained_one(family, adapt):
    expected, own = reader(family, "full").scores(loud(family)), reader(family, adapt)
    assert np.ptp(expected, axis=0).min() > 0.1, "examples differ"
    np.testing.assert_allclose(own.scores({**own.drawn, **loud(family)}), expected, rtol=1e-6, atol=1e-6)
    added = own.drawn.keys() - loud(family).keys()
    moved = redrawn({name: own.drawn[name] for name in added}, 1)
    assert np.abs(own.scores({**moved, **loud(family)}) - expected).max() > 0.1, "they are not idle"
    assert param_specs(own.drawn).keys() == own.drawn.keys(), "a mesh knows where each lies"


@pytest.mark.parametrize("family", ["bert", "xlnet"])
def test_an_update_of_low_rank_is_that_of_the_kernel(family):
    """W + (alpha / r) A B in place of W, in a model that knows nothing of updates."""
    rng, own, merged = np.random.default_rng(1), reader(family, "lora"), dict(loud(family))
    added = {name: rng.normal(size=own.drawn[name].shape) / 2 for name in sorted(own.drawn.keys() - merged.keys())}
    for name in ("query", "value"):
        stem = f"layers/attention/{name}"
        down, up = (added[f"{stem}/update/{part}/kernel"] for part in ("down", "up"))
        change = ALPHA / RANK * np.einsum("ndr,nrhk->ndhk", down, up)
        merged[f"{stem}/kernel"] = (merged[f"{stem}/kernel"] + change).astype(np.float32)
    assert len(added) == 4
    params = {**loud(family), **{name: value.astype(np.float32) for name, value in added.items()}}
    found, before = own.scores(params), own.scores({**own.drawn, **loud(family)})
    np.testing.assert_allclose(found, reader(family, "full").scores(merged), rtol=1e-4, atol=1e-4)
    assert np.abs(found - before).max() > 0.1


@pytest.mark.parametrize(
    ("family", "part", "bias"),
    [
        ("bert", "attention", "attention/out"),
        ("bert", "mlp", "mlp/down"),
        ("gpt", "attention", "attention/out"),
        ("gpt", "mlp", "mlp/down"),
        ("xlnet", "mlp", "mlp/down"),
    ],
)
def test_an_adapter_stands_between_a_part_and_the_sum(family, part, bias):
    """One that adds a constant is another bias of the projection before it."""
    own, shift = reader(family, "adapters"), np.random.default_rng(1).normal(size=(LAYERS, DIM)).astype(np.float32)
    one = {**own.drawn, **loud(family), f"layers/{part}_adapter/up/bias": shift}
    other = {**loud(family), f"layers/{bias}/bias": loud(family)[f"layers/{bias}/bias"] + shift}
    found, expected = own.scores(one), reader(family, "full").scores(other)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(found - own.scores({**own.drawn, **loud(family)})).max() > 0.1


def test_an_adapter_adds_what_its_narrow_middle_lets_through():
    rng, adapter = np.random.default_rng(0), Adapter(BertConfig(model_dim=4), 3, precision="float32")
    down, c, up, b, x = (rng.normal(size=shape) for shape in ((4, 3), (3,), (3, 4), (4,), (1, 2, 4)))
    params = {"down": {"kernel": down, "bias": c}, "up": {"kernel": up, "bias": b}}
    bound = nnx.merge(nnx.graphdef(adapter), jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params))
    gelu = np.vectorize(lambda z: z / 2 * (1 + math.erf(z / 2**0.5)))
    np.testing.assert_allclose(
        bound(jnp.asarray(x, jnp.float32)), x + gelu(x @ down + c) @ up + b, rtol=1e-4, atol=1e-5
    )


class Trained(NamedTuple):
    """A run of a tiny task: parameters before it, the state after it, and what was measured at both ends."""

    run: TaskRun
    programs: Programs
    before: dict[str, np.ndarray]
    state: TrainState
    first: dict[str, float]
    last: dict[str, float]


def recipe(family, adapt, epochs=40, **fields):
    quick = {"length": 40, "batch_size": 8, "shortest": 40, **FIELDS.get(adapt, {}), **fields}
    experiment = Experiment(tasks.CONFIGS[family], tasks.OBJECTIVES[family])
    pretrained = Pretrained(Path("none"), 0, experiment, tasks.TOKENIZER)
    told = [(f"data.{name}", str(value)) for name, value in quick.items()]
    return Recipe(pretrained, SETS, epochs=epochs, adapt=adapt, fields=told)


def run_of(own):
    experiment = experiment_of(own, "scratch", 1e-2, 0)
    return build_task_run(own, experiment, *(encode(own, each, experiment.data) for each in (SETS.train, SETS.dev)))


@functools.cache
def trained(family, adapt) -> Trained:
    run = run_of(recipe(family, adapt))
    with commands.quick():
        programs = run.programs()
        state = programs.start(0)
        before = {name: np.array(value) for name, value in leaves(state.params).items()}
        first = run.measure(programs, state.params)
        for step in range(run.experiment.optimizer.total_steps):
            state, _ = programs.step(state, run.train.batch(step), 0)
        return Trained(run, programs, before, state, first, run.measure(programs, state.params))


def learned_names(adapt, names):
    """What the papers train beside the head."""
    parts = {"lora": ("/update/",), "adapters": ("_adapter/", "norm/")}[adapt]
    return {name for name in names if name.startswith("task/") or any(part in name for part in parts)}


KINDS = [("bert", "lora"), ("gpt", "adapters")]


@pytest.mark.parametrize(("family", "adapt"), KINDS)
def test_only_what_is_put_in_is_learned_and_has_moments(family, adapt):
    own = trained(family, adapt)
    after, expected = leaves(own.state.params), learned_names(adapt, own.before)
    changed = {name for name in after if np.asarray(after[name]).tobytes() != own.before[name].tobytes()}
    assert changed == expected
    named = jax.tree_util.tree_leaves_with_path(own.state.opt_state)
    assert {param_name(path) for path, _ in named} - {""} == expected


@pytest.mark.parametrize(("family", "adapt"), KINDS)
def test_as_many_numbers_are_learned_as_the_formula_says(family, adapt):
    norms = 2 * LAYERS + 1  # of the embeddings, or the last
    inside = {
        "lora": 4 * LAYERS * RANK * DIM,
        "adapters": 2 * LAYERS * (2 * DIM * WIDTH + WIDTH + DIM) + norms * 2 * DIM,
    }[adapt]
    head = num_task_parameters(DIM, 2, pooled=family != "gpt")
    own = trained(family, adapt)
    assert own.run.learned == inside + head == sum(own.before[name].size for name in learned_names(adapt, own.before))


@pytest.mark.parametrize(("family", "adapt"), KINDS)
def test_a_task_is_learned(family, adapt):
    own = trained(family, adapt)
    assert own.last["accuracy"] > majority(SETS)["accuracy"] + 0.2 and own.last["loss"] < own.first["loss"] - 0.1


def test_the_command_counts_and_its_checkpoint_holds_the_pretrained_parameters_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setitem(sources.SOURCES, "yesno", lambda folder, layout, report: SETS)
    workdir = tasks.checkpoint(tmp_path / "run", "gpt")
    quick = [f"--config.data.{name}=40" for name in ("length", "shortest")]
    arguments = (f"--workdir={workdir}", "--task=yesno", "--data=there", "--adapt=lora", "--seeds=1", "--epochs=1")
    done = commands.run("finetune.py", *arguments, "--nofrom_scratch", "--config.data.rank=2", *quick)
    assert done.code == 0, done.err
    head, inside = num_task_parameters(DIM, 2, pooled=False), 4 * LAYERS * 2 * DIM
    assert f" {inside + head:,} of " in done.out and f" {head:,} of them of the head" in done.out
    folder = workdir / "finetune" / "yesno-lora" / "pretrained" / "rate-0.003" / "seed-0"
    stored, pretrained = commands.stored(folder), leaves(Checkpoints(workdir).restore_params(0))
    params = {name.removeprefix("params/"): leaf for name, leaf in stored.items() if name.startswith("params/")}
    for name, leaf in params.items():
        added = name.startswith("task/") or "/update/" in name
        assert added != (name in pretrained) and (added or leaf.tobytes() == pretrained[name].tobytes()), name
    assert len(params) == len(pretrained) + 4 + 2


def test_an_interrupted_run_ends_as_one_that_was_left_alone(tmp_path):
    class Stop(Exception):
        pass

    def stop(done):
        if done == 107:
            raise Stop

    own = trained("bert", "lora")
    cadence = dataclasses.replace(own.run.experiment.training, eval_every=100)
    run = dataclasses.replace(own.run, experiment=dataclasses.replace(own.run.experiment, training=cadence))
    with commands.quick():
        train(run, tmp_path / "one", programs=own.programs)
        with pytest.raises(Stop):
            train(run, tmp_path / "other", programs=own.programs, before_step=stop)
        train(run, tmp_path / "other", programs=own.programs)
    commands.assert_same_run(tmp_path / "one", tmp_path / "other")


def test_what_is_small_learns_faster_by_default_and_a_field_of_another_adaptation_is_refused():
    assert [rates_of("default", dim, ADAPTATIONS["lora"].rate) for dim in (128, 768)] == [(3e-3,), (5e-4,)]
    assert rates_of("default", 128, ADAPTATIONS["full"].rate) == (3e-4,)
    for fields, said in (
        ({"adapt": "lora", "rank": 0}, "data.rank=0: must be at least 1"),
        ({"adapt": "lora", "alpha": 0.0}, "data.alpha=0.0: must be above 0"),
        ({"adapt": "adapters", "bottleneck": 0}, "data.bottleneck=0: must be at least 1"),
        ({"rank": 4}, "data.rank=4: belongs to --adapt=lora; leave it out"),
        ({"adapt": "lora", "bottleneck": 8}, "data.bottleneck=8: belongs to --adapt=adapters"),
        ({"adapt": "bias", "reinitialized": 1}, "data.reinitialized=1: belongs to --adapt=full"),
    ):
        with pytest.raises(InputError, match=said):
            dataclasses.replace(DATA, **fields)
