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
from batch import InputError, Inputs
from data.task import TaskData
from finetuning import sources
from finetuning.adaptation import ADAPTATIONS
from finetuning.build import Pretrained, Recipe, build_task_run, encoded, experiment_of
from finetuning.encoding import encode_labeled
from finetuning.rates import rates_of
from finetuning.run import TaskRun, make_predict
from finetuning.scoring import majority
from finetuning.start import features_of, num_task_parameters, task_model, without_memory
from finetuning.stream import padded
from finetuning.templates import template_of
from models import BertConfig
from models.adapters import Adapter
from models.pointer import num_pointer_parameters
from objectives import Classification
from training.checkpoint import Checkpoints
from training.config import Experiment
from training.keys import held_out_key
from training.restored import stored_params
from training.sharding import param_name, param_specs
from training.state import TrainState, abstract_state

VOCAB, SETS, TAGS = tasks.TOKENIZER.vocab, tasks.classification(), tasks.tagging()
DATA = TaskData(task="yesno", labels=("no", "yes"), length=40, batch_size=4, shortest=40)
RANK, ALPHA, WIDTH, DIM, LAYERS = 3, 6.0, 5, tasks.TRUNK["model_dim"], tasks.TRUNK["num_layers"]
EPOCH = 5  # steps, of 40 examples
FIELDS: dict[str, dict[str, Any]] = {"lora": {"rank": RANK, "alpha": ALPHA}, "adapters": {"bottleneck": WIDTH}}


def leaves(params):
    return traverse_util.flatten_dict(params, sep="/")


class Reader(NamedTuple):
    """An adapted model without dropout, four examples, its scores of them, and the parameters that a seed draws."""

    model: Any
    inputs: Inputs
    scores: Any
    drawn: dict[str, jax.Array]


@functools.cache
def reader(family, adapt, layers="last") -> Reader:
    """Layers as they were pretrained are scanned, adapted ones laid out (`models.trunk.UNROLLED`): a test has both."""
    data = dataclasses.replace(DATA, adapt=adapt, layers=layers, **FIELDS.get(adapt, {}))
    config, template = without_memory(tasks.CONFIGS[family]), template_of(tasks.CONFIGS[family])
    how: Any = {"pooled": template.pooled, "precision": "float32", "frozen": True, "layers": layers}
    model = task_model(config, VOCAB.size, 2, **how, remat="cheap" if adapt == "full" else "none")
    ADAPTATIONS[adapt].put(model, data)
    examples = encode_labeled(tasks.sentences(4, 0), data.labels, tasks.TOKENIZER, template, data.length)
    batch = padded(data, examples, np.arange(4), 0, template.pad, VOCAB.pad)
    objective = Classification("left" if family == "gpt" else "both")
    program = make_predict(model, objective, VOCAB)

    def scores(params):
        with commands.quick():
            return np.asarray(program(traverse_util.unflatten_dict(params, sep="/"), batch)[1])[:, 0]

    return Reader(model, objective.prepare(batch, VOCAB, held_out_key())[0], scores, drawn(model))


def drawn(model):
    """The values that parameters start from."""
    flat = {"/".join(map(str, path)): each for path, each in nnx.to_flat_state(nnx.state(model))}
    shapes = {name: (each.get_metadata()["initializer"], each.get_value().shape) for name, each in flat.items()}
    return {name: initializer(jax.random.key(0), shape) for name, (initializer, shape) in shapes.items()}


def redrawn(params, seed):
    """Values at which every dependence is visible."""
    rng, nested = np.random.default_rng(seed), traverse_util.unflatten_dict(params, sep="/")
    return leaves(jax.tree_util.tree_map_with_path(lambda path, value: cases.redraw(path, value, rng), nested))


@functools.cache
def loud(family):
    """Parameters of a model as it was pretrained, under a head."""
    return redrawn(reader(family, "full").drawn, 0)


PUT = [("xlnet", "lora"), ("bert", "adapters"), ("gpt", "adapters")]


@pytest.mark.parametrize(("family", "adapt"), PUT)
def test_an_adapted_model_starts_as_the_pretrained_one(family, adapt):
    expected, own = reader(family, "full").scores(loud(family)), reader(family, adapt)
    assert np.ptp(expected, axis=0).min() > 0.1, "examples differ"
    np.testing.assert_allclose(own.scores({**own.drawn, **loud(family)}), expected, rtol=1e-6, atol=1e-6)
    added = own.drawn.keys() - loud(family).keys()
    moved = redrawn({name: own.drawn[name] for name in added}, 1)
    assert np.abs(own.scores({**moved, **loud(family)}) - expected).max() > 0.1, "they are not idle"
    assert param_specs(own.drawn).keys() == own.drawn.keys(), "a mesh knows where each lies"


def test_an_update_of_low_rank_is_that_of_the_kernel(family="xlnet"):
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


@functools.cache
def rows(family):
    """What a loud model holds where each example is read [N1 B D]: embeddings, layers, the last behind its norm."""
    own = reader(family, "full")
    bound = lambda params, **how: nnx.merge(nnx.graphdef(own.model), params)(own.inputs, **how)  # noqa: E731
    params = traverse_util.unflatten_dict(loud(family), sep="/")
    with commands.quick():
        output = jax.jit(functools.partial(bound, capture=("layers",)))(params)
    assert jax.eval_shape(bound, params).layers is None, "nothing is kept that nobody reads"
    below = np.asarray(output.layers)[:-1, np.arange(4), np.asarray(own.inputs.predict)[:, 0]]
    return np.concatenate([below, np.asarray(output.hidden).swapaxes(0, 1)])


READ = {
    "last-2": lambda rows, params: np.concatenate([rows[1], rows[2]], axis=-1),
    "weighted": lambda rows, params: (
        params["features/scale"]
        * sum(np.exp(w) * row for w, row in zip(params["features/weight"], rows, strict=True))
        / np.exp(params["features/weight"]).sum()
    ),
}


@pytest.mark.parametrize(("family", "layers"), [("gpt", "last-2"), ("xlnet", "weighted")])
def test_a_head_reads_the_layers_that_it_is_told_to(family, layers):
    own = reader(family, "frozen", layers)
    params = redrawn(own.drawn, 1)
    params |= {name: value for name, value in loud(family).items() if not name.startswith("task/")}
    params = {name: np.asarray(value) for name, value in params.items()}
    read = READ[layers](rows(family), params)
    if family != "gpt":
        read = np.tanh(read @ params["task/pooler/kernel"] + params["task/pooler/bias"])
    expected = read @ params["task/out/kernel"] + params["task/out/bias"]
    np.testing.assert_allclose(own.scores(params), expected, rtol=1e-4, atol=1e-4)
    assert param_specs(own.drawn).keys() == own.drawn.keys(), "a mesh knows where each lies"
    side_by_side = 2 if layers == "last-2" else 1
    size = sum(value.size for name, value in own.drawn.items() if name.startswith("task/"))
    assert size == num_task_parameters(DIM, 2, pooled=family != "gpt", side_by_side=side_by_side)


class Trained(NamedTuple):
    """A run of a tiny task: parameters before it, the state after it, and what was measured at both ends."""

    run: TaskRun
    before: dict[str, np.ndarray]
    state: TrainState
    first: dict[str, float]
    last: dict[str, float]


TAUGHT = {"lora": tasks.choice(), "adapters": tasks.extraction(nullable=True), "frozen": TAGS}
"""What is drawn and frozen tells letters apart, but hardly texts."""

QUICK: dict[str, dict[str, Any]] = {
    "classification": {"length": 40, "shortest": 40},
    "tagging": {"length": 40, "shortest": 40},
    "choice": {"length": 24, "shortest": 72},
    "extraction": {"length": 64, "shortest": 64},
}


def recipe(family, adapt, sets=SETS, epochs=40, layers="last", **others):
    experiment = Experiment(tasks.CONFIGS[family], tasks.OBJECTIVES[family])
    pretrained = Pretrained(Path("none"), 0, experiment, tasks.TOKENIZER)
    quick = {"batch_size": 8, **QUICK[sets.task.kind], **FIELDS.get(adapt, {})}
    fields = {f"data.{name}": value for name, value in quick.items()} | others
    told = [(name, str(value)) for name, value in fields.items()]
    return Recipe(pretrained, sets, epochs=epochs, adapt=adapt, fields=told, layers=layers)


def run_of(own):
    experiment = experiment_of(own, "scratch", 1e-2, 0)
    return build_task_run(own, experiment, *(encoded(own, name, experiment.data) for name in ("train", "dev")))


@functools.cache
def trained(family, adapt) -> Trained:
    run = run_of(recipe(family, adapt, TAUGHT[adapt], layers="weighted" if adapt == "frozen" else "last"))
    with commands.quick():
        programs = run.programs()
        state = programs.start(traverse_util.unflatten_dict(drawn(run.model), sep="/"))
        before = bits(state.params)
        first = run.measure(programs, state.params)
        for step in range(run.experiment.optimizer.total_steps):
            state, _ = programs.step(state, run.train.batch(step), 0)
        return Trained(run, before, state, first, run.measure(programs, state.params))


def bits(params):
    return {name: np.array(value) for name, value in leaves(params).items()}


def learned_names(adapt, names):
    """What the papers train beside the head."""
    parts = {"lora": ("/update/",), "adapters": ("_adapter/", "norm/"), "frozen": ("features/",)}[adapt]
    return {name for name in names if name.startswith("task/") or any(part in name for part in parts)}


KINDS = [("bert", "lora"), ("gpt", "adapters"), ("gpt", "frozen")]


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
        "frozen": LAYERS + 2,
    }[adapt]
    outputs = {"lora": 1, "adapters": 2, "frozen": 2}[adapt]  # a choice, the start and the end of an answer, two tags
    head = num_task_parameters(DIM, outputs, pooled=family != "gpt")
    own = trained(family, adapt)
    assert own.run.learned == inside + head == sum(own.before[name].size for name in learned_names(adapt, own.before))


@pytest.mark.parametrize(("family", "adapt"), KINDS)
def test_a_task_is_learned(family, adapt):
    own = trained(family, adapt)
    baseline = majority(own.run.sets)["score"]
    assert own.last["score"] > (1 + baseline) / 2 and own.last["loss"] < own.first["loss"] / 2


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
    stored, pretrained = commands.stored(folder), leaves(stored_params(workdir, 0))
    params = {name.removeprefix("params/"): leaf for name, leaf in stored.items() if name.startswith("params/")}
    for name, leaf in params.items():
        added = name.startswith("task/") or "/update/" in name
        assert added != (name in pretrained) and (added or leaf.tobytes() == pretrained[name].tobytes()), name
    assert len(params) == len(pretrained) + 4 + 2


def test_layers_wait_for_their_turn_from_the_top_down_and_keep_every_bit_until_then():
    """In two epochs, in which what is outside of the layers never has its turn."""
    run = run_of(recipe("gpt", "gradual", epochs=2, remat="none"))
    start = {name: np.array(value) for name, value in redrawn(leaves(run.shapes), 0).items()}
    start["tokens/table"][5] = start["layers/mlp/up/kernel"][:, 0] = -0.0  # which 0 may not become
    with commands.quick():
        programs = run.programs()
        state = programs.start(traverse_util.unflatten_dict(start, sep="/"))
        for step in range(LAYERS * EPOCH):
            before = bits(state.params)
            state, _ = programs.step(state, run.train.batch(step), 0)
            for name, value in bits(state.params).items():
                if name.startswith("layers/"):
                    same = [one.tobytes() == other.tobytes() for one, other in zip(value, before[name], strict=True)]
                    assert same == [step < (LAYERS - 1 - layer) * EPOCH for layer in range(LAYERS)], (name, step)
                else:
                    assert (value.tobytes() == before[name].tobytes()) != name.startswith("task/"), (name, step)


@pytest.mark.parametrize("epochs", [1, 3])
def test_what_never_has_its_turn_is_not_counted_and_has_no_moments(epochs):
    run = run_of(recipe("gpt", "gradual", epochs=epochs))
    sizes = {name: leaf.size for name, leaf in leaves(run.shapes).items()}
    layers = sum(size for name, size in sizes.items() if name.startswith("layers/"))
    head = num_task_parameters(DIM, 2, pooled=False)
    assert run.learned == (head + layers * min(epochs, LAYERS) // LAYERS if epochs <= LAYERS else sum(sizes.values()))
    held = jax.tree_util.tree_leaves_with_path(jax.eval_shape(run.optimizer.init, run.shapes))
    with_moments = {param_name(path) for path, _ in held} - {""}
    assert with_moments == {name for name in sizes if epochs > LAYERS or name.startswith(("layers/", "task/"))}


def test_moments_of_what_is_learned_come_back_from_a_checkpoint(tmp_path):
    own = trained("bert", "lora")
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(200, own.state)
    _, state = Checkpoints(tmp_path).restore(abstract_state(own.run.model, own.run.optimizer, 8))
    jax.tree.map(np.testing.assert_array_equal, state, own.state)


WIDE = [("bert", tasks.choice(), {}), ("xlnet", tasks.extraction(nullable=True), {"objective.ends": "given_start"})]


@pytest.mark.parametrize(("family", "sets", "fields"), WIDE)
def test_a_head_that_weighs_one_of_two_layers_by_zero_is_that_of_the_other(family, sets, fields):
    """Also one that chooses, and one that finds answers: it reads both where a row may start and what stands there."""
    narrow, wide = (run_of(recipe(family, "frozen", sets, layers=layers, **fields)) for layers in ("last", "last-2"))
    shapes, start = leaves(wide.shapes), redrawn(leaves(narrow.shapes), 0)
    batch, found = narrow.dev.batch(0), {}
    for run in (narrow, wide):
        own = {name: beside_zeros(value, shapes[name].shape) if run is wide else value for name, value in start.items()}
        program = make_predict(run.model, run.experiment.objective, VOCAB)
        with commands.quick():
            found[run] = program(traverse_util.unflatten_dict(own, sep="/"), batch)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, found[wide], found[narrow])
    size = sum(leaf.size for name, leaf in shapes.items() if name.startswith("task/"))
    if fields:
        assert size == num_pointer_parameters(DIM, nullable=True, side_by_side=2)
    else:
        assert size == num_task_parameters(DIM, 1, pooled=True, side_by_side=2)


def beside_zeros(kernel, shape):
    """A kernel that gives no weight to the lower of two layers, in every part of its input that reads both."""
    if kernel.shape == shape:
        return kernel
    parts = np.asarray(kernel).reshape(-1, 1, DIM, kernel.shape[-1])
    return np.concatenate([np.zeros_like(parts), parts], axis=1).reshape(shape)


@pytest.mark.parametrize(
    ("adapt", "family", "sets", "fields"),
    [("gradual", *WIDE[0]), ("lora", *WIDE[1])],
)
def test_choices_and_answers_are_adapted_in_other_ways_too(adapt, family, sets, fields):
    """Traced, not run: every shape fits."""
    run = run_of(recipe(family, adapt, sets, **fields))
    state = abstract_state(run.model, run.optimizer, run.experiment.data.batch_size)
    programs, batch = run.programs(), run.train.batch(0)
    after, means = jax.eval_shape(lambda state: programs.step(state, batch, 0), state)
    assert jax.tree.structure(after) == jax.tree.structure(state) and "loss" in means


def test_what_is_small_learns_faster_by_default_and_a_field_of_another_adaptation_is_refused():
    assert [rates_of("default", dim, ADAPTATIONS["lora"].rate) for dim in (128, 768)] == [(3e-3,), (5e-4,)]
    assert rates_of("default", 128, ADAPTATIONS["full"].rate) == (3e-4,)
    for fields, said in (
        ({"adapt": "lora", "rank": 0}, "data.rank=0: must be at least 1"),
        ({"adapt": "lora", "alpha": 0.0}, "data.alpha=0.0: must be above 0"),
        ({"adapt": "adapters", "bottleneck": 0}, "data.bottleneck=0: must be at least 1"),
        ({"rank": 4}, "data.rank=4: belongs to --adapt=lora; leave it out"),
        ({"adapt": "lora", "bottleneck": 8}, "data.bottleneck=8: belongs to --adapt=adapters"),
        ({"adapt": "bias", "reinitialized": 1}, "data.reinitialized=1: belongs to --adapt=full or gradual"),
        ({"layers": "1"}, "--layers=1: belongs to --adapt=frozen"),
        *(({"adapt": "frozen", "layers": name}, "--layers=") for name in ("first", "last-0", "-1", "last-", "")),
    ):
        with pytest.raises(InputError, match=said):
            dataclasses.replace(DATA, **fields)
    for layers in ("3", "last-3"):
        with pytest.raises(InputError, match=f"--layers={layers}: the model has 2 layers; name one of them, or 0"):
            features_of(layers, tasks.CONFIGS["bert"])
    read = [features_of(layers, tasks.CONFIGS["bert"]) for layers in ("last", "0", "2", "last-1", "last-2")]
    assert [each and each.chosen for each in read] == [None, (0,), (2,), (2,), (1, 2)]
