"""The next token's loss beside a task's: a sum of two that are known, and nothing at all where it has no weight."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, traverse_util

import cases
import commands
import objectives.surprise
import tasks
from batch import InputError
from finetuning import sources
from finetuning.build import Recipe, build_task_run, encoded, experiment_of, open_pretrained
from finetuning.run import TaskRun
from finetuning.stream import padded
from finetuning.templates import template_of
from models import GptConfig
from models.parameters import initialize
from objectives import CausalLm, Classification, Extraction, WithLanguage
from objectives.tasks import reader
from test_surprise import arrays
from training.build import check_fit
from training.checkpoint import Checkpoints
from training.config import Experiment, from_dict, to_json
from training.keys import held_out_key
from training.restored import stored_params
from training.step import make_descent

VOCAB = tasks.TOKENIZER.vocab
SETS = {
    "classification": tasks.classification(2, train=9, dev=5),
    "regression": tasks.regression(train=9, dev=5),
    "tagging": tasks.tagging(train=9, dev=5),
    "choice": tasks.choice(train=9, dev=5),
    "extraction": tasks.extraction(nullable=True, train=9, dev=5),
}
WEIGHT = 0.5
FIELDS = [(f"data.{name}", text) for name, text in {"length": "48", "batch_size": "4", "shortest": "48"}.items()]
STILL = [*FIELDS, ("model.dropout_rate", "0"), ("model.attention_dropout_rate", "0")]
GIVEN = [*FIELDS, ("objective.ends", "given_start"), ("data.doc_stride", "16")]


@pytest.fixture(autouse=True)
def quick():
    with commands.quick():
        yield


def recipe(kind="classification", weight=WEIGHT, family="gpt", **others) -> Recipe:
    source = open_pretrained(tasks.pretrained(family), "latest")
    return dataclasses.replace(Recipe(source, SETS[kind], fields=FIELDS, language_weight=weight), **others)


def pretrained_as(own: Recipe, **changed) -> Recipe:
    """The same after another pretraining: of its checkpoint only the experiment is read."""
    source = own.pretrained
    experiment = dataclasses.replace(source.experiment, **changed)
    return dataclasses.replace(own, pretrained=dataclasses.replace(source, experiment=experiment))


def untied(own: Recipe) -> Recipe:
    """The same of a model whose head has a table of its own."""
    return pretrained_as(own, model=dataclasses.replace(own.pretrained.experiment.model, tied=False))


def run_of(own: Recipe) -> TaskRun:
    experiment = experiment_of(own, "pretrained", 1e-2, 0)
    return build_task_run(own, experiment, *(encoded(own, name, experiment.data) for name in ("train", "dev")))


def loud(model):
    """Parameters at which every dependence is visible."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: initialize(model, jax.random.key(0)))
    return jax.tree_util.tree_map_with_path(lambda path, value: cases.redraw(path, value, rng), shapes)


def three_rows(run: TaskRun):
    """Three examples of the dev set and an empty row."""
    side = template_of(run.experiment.model).pad
    batch = padded(run.experiment.data, run.dev.examples, np.arange(3), 0, side, VOCAB.pad)
    assert not batch.document[3].any() and (batch.document[:3] == 0).any(), "an empty row, and padding"
    return batch


def by_hand(logits, batch):
    """The sum of -log p of each next token, and how many there are: one by one, in float64."""
    total, count = 0.0, 0
    for row, tokens in enumerate(batch.tokens):
        for place, token in enumerate(tokens[1:]):
            document, after = batch.document[row, place : place + 2]
            if document and document == after and token not in VOCAB.special:
                own = logits[row, place].astype(np.float64)
                total += own.max() + np.log(np.exp(own - own.max()).sum()) - own[token]
                count += 1
    return total, count


def causal_xlnet(weight=WEIGHT) -> Recipe:
    """A task for the trunk of XLNet, which was pretrained from left to right."""
    return pretrained_as(recipe(weight=weight, family="xlnet", visibility="left"), objective=CausalLm())


@pytest.mark.parametrize("case", [*SETS, "xlnet"])
def test_the_loss_is_the_task_s_and_by_its_weight_the_mean_over_next_tokens(case):
    run = run_of(causal_xlnet() if case == "xlnet" else recipe(case, fields=GIVEN if case == "extraction" else FIELDS))
    objective, graphdef, batch = run.experiment.objective, nnx.graphdef(run.model), three_rows(run)
    assert isinstance(objective, WithLanguage)
    task = objective.task

    @jax.jit
    def told(params, batch):
        bound = nnx.merge(graphdef, params)
        found = []
        for each in (objective, task):
            inputs, targets = each.prepare(batch, VOCAB, held_out_key())
            output = bound(inputs)
            losses, metrics = each.loss(bound, output, targets)
            descended = sum(each.scales(targets)[name] * mean.total for name, mean in losses.items())
            found.append((losses, metrics, descended, reader(each)(bound, output, targets)))
        every = jnp.broadcast_to(jnp.arange(inputs.tokens.shape[1])[None], inputs.tokens.shape)
        return found, bound.logits(bound(dataclasses.replace(inputs, predict=every)).hidden)

    (both, alone), logits = jax.device_get(told(loud(run.model), batch))
    language = both[0].pop("language_loss")
    total, count = by_hand(logits, batch)
    assert count == language.weight > 20 and language.total == pytest.approx(total, rel=1e-5)
    assert both[2] == pytest.approx(alone[2] + WEIGHT * total / count, rel=1e-5)
    same = lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(same, (both[0], both[1], both[3]), (alone[0], alone[1], alone[3]))


def test_gradients_add_up_and_reach_the_head():
    run = run_of(untied(recipe(fields=STILL)))
    objective, graphdef, batch = run.experiment.objective, nnx.graphdef(run.model), run.train.batch(0)
    assert isinstance(objective, WithLanguage)

    @jax.jit
    def gradients(params, batch):
        found = []
        for each in (objective, objective.task, CausalLm()):
            inputs, targets = each.prepare(batch, VOCAB, held_out_key())
            descend = make_descent(graphdef, each, each.scales(targets))
            found.append(descend(params, inputs, targets, None, held_out_key())[0])
        return found

    found = jax.device_get(gradients(loud(run.model), batch))
    both, task, language = (traverse_util.flatten_dict(each, sep="/") for each in found)
    for name, own in both.items():
        np.testing.assert_allclose(own, task[name] + WEIGHT * language[name], rtol=1e-3, atol=1e-5, err_msg=name)
    assert not task["output/table"].any() and np.abs(language["output/table"]).max() > 0.01
    assert np.abs(language["layers/mlp/up/bias"]).max() > 0.01, "that which --adapt=bias learns"


def test_the_scores_of_all_tokens_are_never_there_at_once(monkeypatch):
    run = run_of(recipe())
    objective, graphdef, batch = run.experiment.objective, nnx.graphdef(run.model), run.train.batch(0)
    rows, length = batch.tokens.shape
    whole = rows * length * VOCAB.size

    def largest():
        inputs, targets = objective.prepare(batch, VOCAB, held_out_key())
        descend = make_descent(graphdef, objective, objective.scales(targets))
        return max(arrays(jax.make_jaxpr(descend)(run.shapes, inputs, targets, None, held_out_key()).jaxpr))

    assert largest() >= whole
    monkeypatch.setattr(objectives.surprise, "AT_ONCE", rows * VOCAB.size * 4)
    assert largest() < whole / 2


def names(run):
    return set(traverse_util.flatten_dict(run.shapes, sep="/"))


def test_without_a_weight_nothing_is_different_and_with_one_only_the_head_is_more():
    own = recipe(weight=0.0)
    unasked = Recipe(own.pretrained, own.sets, fields=own.fields)
    assert experiment_of(own, "scratch", 1e-2, 0) == experiment_of(unasked, "scratch", 1e-2, 0)
    assert run_of(own).experiment.objective == Classification("left")
    head = 16 * VOCAB.size
    for adapt, more in (("full", head), ("bias", 0)):
        for made, table in ((lambda own: own, False), (untied, True)):
            bare, both = (run_of(made(recipe(weight=weight, adapt=adapt))) for weight in (0.0, WEIGHT))
            assert names(both) - names(bare) == ({"output/table"} if table else set()) and names(bare) <= names(both)
            assert both.learned - bare.learned == (more if table else 0)
    xlnet = run_of(causal_xlnet())
    assert names(xlnet) - names(run_of(causal_xlnet(weight=0.0))) == {"bias"}
    assert from_dict(json.loads(to_json(xlnet.experiment))) == xlnet.experiment


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"family": "bert"}, r"did not learn to predict the next token \(its objective is MaskedLm\); name one of a"),
        ({"family": "bert", "visibility": "left"}, "its objective is MaskedLm"),
        ({"family": "xlnet"}, "its objective is PermutationLm"),
        ({"visibility": "both"}, "with visibility both a token sees the next one, .* use --visibility=left"),
        ({"fields": [("objective.visibility", "both")]}, "with visibility both a token sees the next one"),
        ({"adapt": "frozen"}, "with --adapt=frozen nothing is learned that this loss could teach; leave one of them"),
        ({"weight": -1.0}, "must be a number above 0, or 0 for no such loss"),
        ({"weight": float("nan")}, "must be a number above 0"),
        ({"fields": [("objective.weight", "1")]}, r"--config\.objective\.weight: unknown field; it is one of visib"),
    ],
)
def test_what_the_loss_would_not_mean_is_refused(asked, said):
    with pytest.raises(InputError, match=said):
        experiment_of(recipe(**asked), "pretrained", 1e-2, 0)


def test_the_other_direction_is_not_the_next_token():
    with pytest.raises(InputError, match="its objective is CausalLm"):
        experiment_of(pretrained_as(recipe(), objective=CausalLm("backward")), "pretrained", 1e-2, 0)


def test_a_field_of_the_task_is_set_as_without_the_loss_and_text_alone_cannot_be_learned_so():
    objective = experiment_of(recipe("extraction", fields=GIVEN), "scratch", 1e-2, 0).objective
    assert objective == WithLanguage(Extraction("left", ends="given_start"), WEIGHT)
    with pytest.raises(InputError, match=r"objective=WithLanguage .* learns from the labels of a task"):
        check_fit(Experiment(GptConfig(), objective))


def test_the_command_learns_both_with_the_head_of_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setitem(tasks.CONFIGS, "gpt", dataclasses.replace(tasks.CONFIGS["gpt"], tied=False))
    workdir, output = tasks.checkpoint(tmp_path / "gpt", "gpt"), tmp_path / "out"
    monkeypatch.setitem(sources.SOURCES, "pairs", lambda folder, layout, report: SETS["classification"])
    asked = [f"--workdir={workdir}", "--task=pairs", "--data=there", "--seeds=1", "--epochs=1", "--rates=1e-2"]
    asked += ["--nofrom_scratch", f"--output={output}", *(f"--config.{name}={text}" for name, text in FIELDS)]
    done = commands.run("finetune.py", *asked, "--language_weight=0.5", "--config.training.log_every=1")
    assert done.code == 0, done.err
    stored = traverse_util.flatten_dict(stored_params(workdir, 0), sep="/")
    size = sum(leaf.size for leaf in stored.values()) + 17 * 2
    assert f"Gpt, {size:,} of {size:,} parameters are trained, 34 of them of the head" in done.out
    flags = json.loads((output / "results.json").read_text())["flags"]
    assert (flags["language_weight"], flags["adapt"], flags["epochs"]) == (0.5, "full", 1)
    folder = output / "pretrained" / "rate-0.01" / "seed-0"
    splits = [each.get("split") for each in commands.records(folder) if each["language_loss"] > 1]
    assert splits == [None, None, None, "validation"]
    (step,) = Checkpoints(folder).steps
    moved = np.abs(commands.stored(folder, step)["params/output/table"] - stored["output/table"])
    assert moved.max() > 0 and moved.mean() < 0.05, "it starts as it was, and is learned"
    sentence = commands.run("finetune.py", *asked, "--language_weight=0.25").sentence
    assert "holds another experiment: objective.weight is 0.5 there and 0.25 here" in sentence
    sentence = commands.run("finetune.py", *asked, "--language_weight=0.5", "--visibility=both").sentence
    assert sentence.startswith("--language_weight=0.5: with visibility both a token sees the next one")
