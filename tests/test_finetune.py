"""Fine-tuning from start to end: the command, its table, its files, and that it goes on where it was."""

import dataclasses
import json
import shutil
import statistics

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

import commands
import tasks
from finetuning import sources
from finetuning.build import Recipe, build_task_run, encode, experiment_of, open_pretrained, start_of
from finetuning.run import TaskRun
from finetuning.start import num_task_parameters
from finetuning.summary import table
from finetuning.trials import Outcome, Trial, Trials, summarize
from models.parameters import abstract_params
from training.checkpoint import Checkpoints
from training.config import from_dict, to_json
from training.loop import Diverged, train
from training.sharding import param_name
from training.trainable import Trainable

SETS = {"yesno": tasks.classification(), "pairs": tasks.classification(2), "words": tasks.regression()}
SETS |= {"old": tasks.tagging()}
FIELDS = [("data.length", "40"), ("data.batch_size", "8"), ("data.shortest", "40")]  # one bucket: one compilation
QUICK = (*(f"--config.{name}={text}" for name, text in FIELDS), "--rates=1e-2")


class Killed(Exception):
    """What a test ends a process with."""


def killed(*_, **__):
    raise Killed


@pytest.fixture(autouse=True)
def known(monkeypatch):
    for name, sets in SETS.items():
        monkeypatch.setitem(sources.SOURCES, name, lambda folder, layout, report, sets=sets: sets)


def finetune(family, task, *arguments):
    workdir = f"--workdir={tasks.pretrained(family)}"
    return commands.run("finetune.py", workdir, f"--task={task}", "--data=there", *QUICK, *arguments)


def results(output):
    return json.loads((output / "results.json").read_text())


def recipe(family, sets=SETS["yesno"], fields=(), **others):
    return Recipe(open_pretrained(tasks.pretrained(family), "latest"), sets, fields=[*FIELDS, *fields], **others)


def run_of(own, seed=0, arm="pretrained") -> TaskRun:
    experiment = experiment_of(own, arm, 1e-2, seed)
    return build_task_run(
        own, experiment, *(encode(own, each, experiment.data) for each in (own.sets.train, own.sets.dev))
    )


BUCKETS = [("data.length", "32"), ("data.shortest", "16")]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run of GPT that nobody disturbs, what it starts from, and its folder."""
    own, folder = recipe("gpt", epochs=5, fields=BUCKETS), tmp_path_factory.mktemp("alone") / "run"
    run = run_of(own)
    with commands.quick():
        programs, params = run.programs(), start_of(own, run)
        train(run, folder, params=params, programs=programs)
    return own, programs, params, folder


def test_the_command_learns_a_task_compares_arms_and_does_nothing_twice(tmp_path, monkeypatch):
    asked = ("bert", "yesno", "--seeds=2", "--epochs=8", "--config.training.eval_every=10")
    done = finetune(*asked)
    assert done.code == 0, done.err
    folder = tasks.pretrained("bert") / "finetune" / "yesno"
    found = results(folder)
    assert [(each["arm"], each["seed"]) for each in found["trials"]] == [
        *(("pretrained", 0), ("pretrained", 1), ("scratch", 0), ("scratch", 1))
    ]
    scores = {arm: [each["accuracy"] for each in found["trials"] if each["arm"] == arm] for arm in found["arms"]}
    assert max(scores["pretrained"] + scores["scratch"]) >= 0.9, "yes and no are easily told apart"
    for arm, own in scores.items():
        assert found["arms"][arm]["mean"]["accuracy"] == pytest.approx(statistics.fmean(own))
        assert found["arms"][arm]["deviation"]["accuracy"] == pytest.approx(statistics.stdev(own))
        line = next(
            line for line in done.out.splitlines() if line.startswith({"scratch": "from scratch"}.get(arm, arm))
        )
        assert f"{100 * statistics.fmean(own):.1f} ± {100 * statistics.stdev(own):.1f}" in line
    labels = [each.label for each in SETS["yesno"].dev]
    common = max(("no", "yes"), key=[each.label for each in SETS["yesno"].train].count)
    assert found["majority"]["accuracy"] == labels.count(common) / len(labels)

    for trial in found["trials"]:  # what is told is what the files say
        own = folder / trial["arm"] / "rate-0.01" / f"seed-{trial['seed']}"
        evaluated = {each["step"]: each for each in commands.records(own) if each.get("split") == "validation"}
        best = min(evaluated, key=lambda step: (evaluated[step]["error"], step))
        assert trial["step"] == best and trial["accuracy"] == evaluated[best]["accuracy"]
        rows = [line.split("\t") for line in (own / "predictions-dev.tsv").read_text().splitlines()]
        assert rows[0] == ["index", "prediction"] and [name for name, _ in rows[1:]] == [str(i) for i in range(20)]
        right = [said == label for (_, said), label in zip(rows[1:], labels, strict=True)]
        assert np.mean(right) == trial["accuracy"]

    monkeypatch.setattr("finetuning.trials.train", killed)
    again = finetune(*asked)
    assert again.code == 0 and again.out == done.out and results(folder) == found
    other = finetune(*asked[:-2], "--epochs=9").sentence
    assert other.startswith("--output=") and "holds another experiment: optimizer.total_steps is 40 there" in other


@pytest.mark.parametrize(("family", "task"), [("xlnet", "pairs"), ("gpt", "words"), ("gpt", "old")])
def test_every_kind_of_task_is_learned_by_every_family(tmp_path, family, task):
    done = finetune(
        *(family, task, "--seeds=1", "--epochs=10", "--nofrom_scratch", f"--output={tmp_path}"),
        "--config.training.eval_every=25",
    )
    assert done.code == 0, done.err
    found = results(tmp_path)
    score = found["arms"]["pretrained"]["mean"]["score"]
    assert score > found["mean" if task == "words" else "majority"]["score"] + 0.1
    assert "± ?" in done.out and list(found["arms"]) == ["pretrained"]
    if task == "old":
        lines = (tmp_path / "pretrained" / "rate-0.01" / "seed-0" / "predictions-dev.tsv").read_text().splitlines()
        words = [line.split("\t") for line in lines if line]
        assert [word for word, _, _ in words] == [word for each in SETS["old"].dev for word in each.words]
        assert np.mean([tag == said for _, tag, said in words]) == pytest.approx(score)


def test_a_step_is_compiled_once_a_bucket_and_predictions_too(alone):
    own, programs, _, _ = alone
    run = run_of(own)
    assert isinstance(run, Trainable)
    used = {run.train.batch(step).tokens.shape[1] for step in range(run.experiment.optimizer.total_steps)}
    held_out = {run.dev.batch(step).tokens.shape[1] for step in range(run.dev.steps_per_epoch)}
    assert used == held_out == set(run.experiment.data.buckets) == {16, 32}
    assert programs.step._cache_size() == programs.evaluate._cache_size() == 2


def test_an_interrupted_run_ends_as_one_that_was_left_alone(alone, tmp_path):
    own, programs, params, folder = alone
    run = run_of(own)
    with commands.quick():
        with pytest.raises(Killed):
            train(run, tmp_path, params=params, programs=programs, before_step=lambda done: done == 7 and killed())
        train(run, tmp_path, programs=programs)
    commands.assert_same_run(folder, tmp_path)


def old_ones_gone(folder):
    shutil.rmtree(folder / "checkpoints")
    raise Killed


@pytest.mark.parametrize(
    ("where", "ends"),
    [("write", killed), ("write_lean", killed), ("write_whole", killed), ("settle", killed), ("settle", old_ones_gone)],
)
def test_a_finished_trial_keeps_the_parameters_of_its_best_checkpoint_wherever_it_is_killed(
    alone, tmp_path, monkeypatch, where, ends
):
    own, programs, _, trained = alone
    sets = dataclasses.replace(own.sets, others={"more": own.sets.train[:3]})
    trials, trial = Trials(dataclasses.replace(own, sets=sets), tmp_path), Trial("pretrained", 1e-2, 0)
    folder = shutil.copytree(trained, tmp_path / trial.folder)
    monkeypatch.setattr(trials, "programs", lambda rate, run: programs)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(f"finetuning.trials.{where}", ends)
        trials.run([trial])
    (outcome,) = trials.run([trial])
    monkeypatch.setattr("finetuning.trials.train", killed)
    assert trials.run([trial]) == [outcome]
    measured = {each["step"]: each for each in commands.records(folder) if each.get("split") == "validation"}
    assert list(measured) == [5, 10, 15, 20, 25] and outcome.values["loss"] == measured[outcome.step]["loss"]
    assert (folder / "predictions-dev.tsv").exists() and (folder / "predictions-more.tsv").exists()
    assert not (folder / "lean").exists()
    checkpoints = Checkpoints(folder, least="error")
    assert checkpoints.steps == [checkpoints.best] == [outcome.step]
    assert {name.split("/")[0] for name in commands.stored(folder)} == {"params"}
    run = trials.build(trial)
    again = run.measure(programs, checkpoints.restore_params(outcome.step, abstract_params(run.model)))
    dev = {name: value for name, value in outcome.values.items() if name != "more/accuracy"}
    assert {name: again[name] for name in dev} == dev and len(dev) == len(outcome.values) - 1


def test_a_rate_that_diverges_counts_as_the_worst_and_the_others_go_on(tmp_path, monkeypatch):
    def diverges(run, folder, **options):
        if run.experiment.optimizer.peak_rate != 0.5:
            return train(run, folder, **options)
        (folder / "checkpoints" / "1").mkdir(parents=True)
        raise Diverged("step 3: not finite any more (loss=nan)", "no remedy.")

    monkeypatch.setattr("finetuning.trials.train", diverges)
    fields = (f"--config.{name}={text}" for name, text in BUCKETS)
    asked = ("gpt", "yesno", "--seeds=1", "--epochs=5", "--nofrom_scratch", f"--output={tmp_path}", *fields)
    done = finetune(*asked, "--rates=0.5,1e-2")
    assert done.code == 0, done.err
    assert "pretrained, rate 0.5, seed 0: diverged, step 3: not finite any more (loss=nan)" in done.err
    found = results(tmp_path)
    assert found["arms"]["pretrained"]["rate"] == 0.01
    assert {each["rate"]: each["diverged"] for each in found["trials"]} == {
        0.5: "step 3: not finite any more (loss=nan)",
        0.01: None,
    }
    assert not (tmp_path / "pretrained" / "rate-0.5" / "seed-0" / "checkpoints").exists()

    monkeypatch.setattr("finetuning.trials.train", killed)
    assert finetune(*asked, "--rates=0.5,1e-2").out == done.out, "it is not tried again"
    sentence = finetune(*asked, "--rates=0.5").sentence
    assert sentence == "--rates=0.5: every run diverged; give lower ones, as in --rates=0.05."


def outcome(rate, seed, score):
    diverged = None if score == score else "step 3"
    return Outcome(Trial("pretrained", rate, seed), 1, {"score": score, "accuracy": score}, diverged)


def test_the_best_rate_is_the_one_with_the_best_mean_over_seeds_and_none_that_diverged():
    score = {(1e-2, 0): 0.9, (1e-2, 1): 0.3, (1e-3, 0): 0.7, (1e-3, 1): 0.6, (0.1, 0): 1.0, (0.1, 1): float("nan")}
    outcomes = [outcome(rate, seed, own) for (rate, seed), own in score.items()]
    (found,) = summarize(outcomes)
    assert found.rate == 1e-3 and found.values("score") == [0.7, 0.6]
    (worse,) = summarize(outcomes[4:])
    line = table(SETS["yesno"], [worse], {"accuracy": 0.5}).splitlines()[1]
    assert line.split() == ["pretrained", "0.1", "diverged", "100.0", "diverged"], "its seed's, and no mean"


def test_arms_and_seeds_share_and_differ_in_what_they_should():
    own = recipe("bert")
    pretrained, scratch = run_of(own), run_of(own, arm="scratch")
    assert start_of(own, scratch) is None
    with commands.quick():
        one = start_of(own, pretrained)
        other = scratch.programs().start(scratch.experiment.seed).params
    np.testing.assert_array_equal(one["task"]["out"]["kernel"], other["task"]["out"]["kernel"])
    assert not np.array_equal(one["tokens"]["table"], other["tokens"]["table"])
    experiment = pretrained.experiment
    assert dataclasses.replace(experiment, data=scratch.experiment.data, init_from=None) == scratch.experiment
    assert (experiment.optimizer.total_steps, experiment.optimizer.warmup_steps) == (15, 1)
    assert experiment.optimizer.bias_correction and experiment.training.eval_every == 5
    assert from_dict(json.loads(to_json(experiment))) == experiment
    unsaid = experiment_of(dataclasses.replace(own, fields=()), "pretrained", 1e-2, 0)
    assert unsaid.data.length == 64, "128, or as many tokens as the model reads"


def test_best_is_the_checkpoint_with_the_least_error_and_patience_ends_a_run(alone, tmp_path, monkeypatch):
    own, programs, params, _ = alone
    errors = iter([0.5, 0.2, 0.3, 0.2, 0.1])
    monkeypatch.setattr(TaskRun, "measure", lambda run, programs, params: {"loss": 1.0, "error": next(errors)})
    monkeypatch.setattr(TaskRun, "note", lambda run, values: "")
    run = run_of(dataclasses.replace(own, fields=[*own.fields, ("training.patience", "2")]))
    with commands.quick():
        result = train(run, tmp_path / "run", params=params, programs=programs)
    assert int(result.state.step) == 20, "the evaluations of steps 15 and 20 were not better than that of step 10"
    assert Checkpoints(tmp_path / "run", least="error").best == 10


LEARNED = {
    "frozen": lambda name: name.startswith("task/"),
    "bias": lambda name: name.startswith("task/") or name.endswith("bias"),
}


@pytest.mark.parametrize("family", tasks.CONFIGS)
@pytest.mark.parametrize("adapt", LEARNED)
def test_what_is_not_learned_has_no_moments_and_is_not_counted(family, adapt):
    run = run_of(recipe(family, adapt=adapt))
    shapes = traverse_util.flatten_dict(run.shapes, sep="/")
    expected = {name: leaf.size for name, leaf in shapes.items() if LEARNED[adapt](name)}
    moments = jax.tree_util.tree_leaves_with_path(jax.eval_shape(run.optimizer.init, run.shapes))
    assert {param_name(path) for path, leaf in moments if leaf.ndim} == expected.keys()
    assert run.learned == sum(expected.values())
    if adapt == "frozen":
        assert run.learned == num_task_parameters(16, 2, pooled=family != "gpt")


RESTLESS = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda gradients, state, params: (jax.tree.map(jnp.ones_like, gradients), gradients),
)
"""Adds 1 to every parameter, learned or not; its state is the gradient."""


@pytest.mark.parametrize("adapt", LEARNED)
def test_what_is_not_learned_has_no_gradient_and_keeps_every_bit_whatever_the_optimizer_says(adapt):
    own = recipe("gpt", adapt=adapt)
    run = dataclasses.replace(run_of(own), optimizer=RESTLESS)
    with commands.quick():
        programs, params = run.programs(), start_of(own, run)
        before = {name: np.array(leaf) for name, leaf in traverse_util.flatten_dict(params, sep="/").items()}
        state, _ = programs.step(programs.start(params), run.train.batch(0), 0)
    after, gradients = (traverse_util.flatten_dict(tree, sep="/") for tree in (state.params, state.opt_state))
    for name, old in before.items():
        if LEARNED[adapt](name):
            np.testing.assert_array_equal(after[name], old + 1)
            assert np.any(gradients[name]) or name.endswith("key/bias"), "of keys' biases the softmax knows nothing"
        else:
            assert np.asarray(after[name]).tobytes() == old.tobytes() and not np.any(gradients[name]), name
