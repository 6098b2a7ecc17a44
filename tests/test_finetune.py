"""Fine-tuning from start to end: the command, its table, its files, and that it goes on where it was."""

import dataclasses
import json
import statistics
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import traverse_util

import commands
import tasks
from batch import InputError
from finetuning import sources
from finetuning.build import Recipe, build_task_run, encode, experiment_of, open_pretrained, start_of
from finetuning.examples import Labeled
from finetuning.rates import rates_of
from finetuning.run import TaskRun
from finetuning.scoring import majority, measured
from finetuning.start import num_task_parameters
from finetuning.task import Sets, Task
from finetuning.trials import Outcome, Trial, summarize
from training.checkpoint import Checkpoints
from training.config import from_dict, to_json
from training.loop import train
from training.sharding import param_name
from training.trainable import Trainable

SETS = {"yesno": tasks.classification(), "pairs": tasks.classification(2), "words": tasks.regression()}
SETS |= {"old": tasks.tagging()}
QUICK = ("--config.data.length=40", "--config.data.batch_size=8", "--config.data.shortest=8", "--rates=1e-2")


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    """A pretrained checkpoint of each family."""
    folder = tmp_path_factory.mktemp("finetune")
    return {family: tasks.checkpoint(folder / family, family) for family in tasks.CONFIGS}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    for name, sets in SETS.items():
        monkeypatch.setitem(sources.SOURCES, name, lambda folder, layout, report, sets=sets: sets)


def finetune(workdir, task, *arguments):
    return commands.run("finetune.py", f"--workdir={workdir}", f"--task={task}", "--data=there", *QUICK, *arguments)


def results(workdir, task):
    return json.loads((workdir / "finetune" / task / "results.json").read_text())


def recipe(workdir, sets=SETS["yesno"], **fields):
    quick = [("data.length", "40"), ("data.batch_size", "8"), ("data.shortest", "8")]
    return Recipe(open_pretrained(workdir, "latest"), sets, fields=quick, **fields)


def run_of(own, seed=0, arm="pretrained") -> TaskRun:
    experiment = experiment_of(own, arm, 1e-2, seed)
    return build_task_run(
        own, experiment, *(encode(own, each, experiment.data) for each in (own.sets.train, own.sets.dev))
    )


def test_the_command_learns_a_task_compares_arms_and_goes_on_where_it_was(workdirs):
    done = finetune(workdirs["bert"], "yesno", "--seeds=2", "--epochs=8")
    assert done.code == 0, done.err
    folder, found = workdirs["bert"] / "finetune" / "yesno", results(workdirs["bert"], "yesno")
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

    last = folder / "scratch" / "rate-0.01" / "seed-1"
    before, kept = commands.records(last), commands.records(folder / "pretrained" / "rate-0.01" / "seed-0")
    (last / "result.json").unlink()
    again = finetune(workdirs["bert"], "yesno", "--seeds=2", "--epochs=8")
    assert again.code == 0 and results(workdirs["bert"], "yesno") == found
    assert commands.records(last) == before, "no step is made twice"
    assert commands.records(folder / "pretrained" / "rate-0.01" / "seed-0") == kept
    other = finetune(workdirs["bert"], "yesno", "--seeds=2", "--epochs=9")
    assert "holds another experiment: optimizer.total_steps" in other.sentence


@pytest.mark.parametrize(("family", "task"), [("gpt", "pairs"), ("xlnet", "words"), ("gpt", "old")])
def test_every_kind_of_task_is_learned_by_every_family(workdirs, family, task):
    done = finetune(workdirs[family], task, "--seeds=1", "--epochs=6", "--nofrom_scratch")
    assert done.code == 0, done.err
    found = results(workdirs[family], task)
    baseline = found["mean" if task == "words" else "majority"]["score"]
    assert found["arms"]["pretrained"]["mean"]["score"] > baseline + 0.1
    assert "± ?" in done.out and list(found["arms"]) == ["pretrained"]


def test_a_step_is_compiled_once_a_bucket_and_predictions_too(workdirs, tmp_path):
    run = run_of(recipe(workdirs["xlnet"], epochs=2))
    assert isinstance(run, Trainable)
    with commands.quick():
        programs = run.programs()
        train(run, tmp_path / "run", params=start_of(recipe(workdirs["xlnet"]), run), programs=programs)
    used = {run.train.batch(step).tokens.shape[1] for step in range(run.experiment.optimizer.total_steps)}
    held_out = {run.dev.batch(step).tokens.shape[1] for step in range(run.dev.steps_per_epoch)}
    assert 1 < len(used) <= len(run.experiment.data.buckets)
    assert programs.step._cache_size() == len(used) and programs.evaluate._cache_size() == len(held_out)


def test_an_interrupted_run_ends_as_one_that_was_left_alone(workdirs, tmp_path):
    class Stop(Exception):
        pass

    def stop(done):
        if done == 7:
            raise Stop

    own = recipe(workdirs["gpt"], epochs=2)
    run = run_of(own)
    with commands.quick():
        programs, params = run.programs(), start_of(own, run)
        train(run, tmp_path / "one", params=params, programs=programs)
        with pytest.raises(Stop):
            train(run, tmp_path / "other", params=params, programs=programs, before_step=stop)
        train(run, tmp_path / "other", programs=programs)
    commands.assert_same_run(tmp_path / "one", tmp_path / "other")


def test_arms_and_seeds_share_and_differ_in_what_they_should(workdirs):
    own = recipe(workdirs["bert"])
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


def test_best_is_the_checkpoint_with_the_least_error_and_patience_ends_a_run(workdirs, tmp_path, monkeypatch):
    own = recipe(workdirs["gpt"], epochs=6)
    own = dataclasses.replace(own, fields=[*own.fields, ("training.patience", "2")])
    errors = iter([0.5, 0.2, 0.3, 0.2, 0.1])
    monkeypatch.setattr(TaskRun, "measure", lambda run, programs, params: {"loss": 1.0, "error": next(errors)})
    monkeypatch.setattr(TaskRun, "note", lambda run, values: "")
    run = run_of(own)
    with commands.quick():
        result = train(run, tmp_path / "run", params=start_of(own, run))
    assert int(result.state.step) == 20, "the evaluations of steps 15 and 20 were not better than that of step 10"
    assert Checkpoints(tmp_path / "run", least="error").best == 10


@pytest.mark.parametrize(("family", "adapt"), [("bert", "frozen"), ("xlnet", "bias")])
def test_what_is_not_learned_keeps_every_bit_and_has_no_moments(workdirs, family, adapt):
    own = recipe(workdirs[family], adapt=adapt)
    run, learned = run_of(own), {"frozen": ("task/",), "bias": ("task/", "bias")}[adapt]
    with commands.quick():
        programs, params = run.programs(), start_of(own, run)
        params["tokens"]["table"] = params["tokens"]["table"].at[5].set(-0.0)  # which 0 may not become
        before = {name: np.array(leaf) for name, leaf in traverse_util.flatten_dict(params, sep="/").items()}
        state = programs.start(params)
        for step in range(3):
            state, record = programs.step(state, run.train.batch(step), 0)
    after, count = traverse_util.flatten_dict(state.params, sep="/"), 0
    for name, old in before.items():
        own_name = name.startswith(learned[0]) or name.endswith(learned[1:])
        count += old.size if own_name else 0
        same = np.asarray(after[name]).tobytes() == old.tobytes()
        assert same != own_name or name.endswith("key/bias"), name
    assert run.learned == count and float(record["gradient_norm"]) > 0
    held = {param_name(path) for path, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state) if leaf.ndim}
    assert held == {name for name in before if name.startswith(learned[0]) or name.endswith(learned[1:])}
    if adapt == "frozen":
        assert count == num_task_parameters(16, 2, pooled=True)


def test_the_best_rate_is_the_one_with_the_best_mean_over_seeds():
    score = {(1e-2, 0): 0.9, (1e-2, 1): 0.3, (1e-3, 0): 0.7, (1e-3, 1): 0.6}
    outcomes = [Outcome(Trial("pretrained", rate, seed), 1, {"score": own}) for (rate, seed), own in score.items()]
    (found,) = summarize(outcomes)
    assert found.rate == 1e-3 and found.values("score") == [0.7, 0.6]


def test_rates_are_a_default_by_size_a_grid_of_the_papers_or_numbers():
    assert [rates_of("default", dim) for dim in (128, 512, 768)] == [(3e-4,), (1e-4,), (5e-5,)]
    assert rates_of("paper", 1024) == (5e-5, 3e-5, 2e-5) and 3e-4 in rates_of("paper", 256)
    assert rates_of("1e-3,3e-4", 128) == (1e-3, 3e-4)
    for text in ("fast", "", "1e-3,1e-3", "0", "2"):
        with pytest.raises(InputError, match=r"--rates=.*as in 1e-3,3e-4"):
            rates_of(text, 128)


def test_a_score_is_the_mean_of_its_metrics_and_the_majority_answers_without_looking():
    task = Task("both", "classification", ("accuracy", "accuracy"))
    values = measured(task, np.array([0, 1, 1]), np.array([0, 1, 0]))
    assert values["score"] == pytest.approx(2 / 3) and values["error"] == pytest.approx(1 / 3)
    assert majority(SETS["words"])["pearson"] == 0.0
    words = [tag for each in SETS["old"].dev for tag in each.tags]
    assert majority(SETS["old"])["tag_accuracy"] == pytest.approx(words.count("O") / len(words))


def labeled(*labels):
    return [Labeled(str(i), ("a text",), label) for i, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("train_set", "dev", "said"),
    [
        ((), ("a", "b"), "its training set is empty"),
        (("a", "b"), (), "its dev set is empty"),
        (("a", "b"), ("a", "a"), "its dev set has one class, 'a'"),
        (("a", "b"), ("a", None), "its dev set has no labels"),
    ],
)
def test_sets_that_nothing_can_be_learned_from_or_measured_on_are_refused(train_set, dev, said):
    with pytest.raises(InputError, match=rf"task t: {said}"):
        Sets(Task("t", "classification", ("accuracy",)), ("a", "b"), labeled(*train_set), labeled(*dev))


def test_what_cannot_be_is_said_in_one_sentence(workdirs, tmp_path):
    def refused(*arguments, workdir=workdirs["gpt"]):
        given = [f"--workdir={workdir}", "--task=yesno", "--data=there", f"--output={tmp_path / 'out'}", *arguments]
        return commands.run("finetune.py", *given).sentence

    assert "--task=cola-2: unknown; there are cola, mnli" in refused("--task=cola-2")
    assert "exceeds model.max_length=64" in refused("--config.data.length=65")
    assert "said by the flags of this command" in refused("--config.seed=3")
    assert "did you mean --config.data.length" in refused("--config.data.lenght=65")
    assert "holds no experiment.json" in refused(workdir=tmp_path / "nothing")
    assert "--data: missing" in commands.run("finetune.py", f"--workdir={workdirs['gpt']}", "--task=yesno").sentence
    unknown = Sets(SETS["yesno"].task, ("no", "maybe"), SETS["yesno"].train, SETS["yesno"].dev)
    with pytest.raises(InputError, match=r"example \d+: label 'yes' is not one of no, maybe"):
        run_of(recipe(workdirs["gpt"], unknown))


def test_a_fine_tuned_folder_is_no_pretrained_one(workdirs, tmp_path):
    own = recipe(workdirs["gpt"], epochs=1)
    run, folder = run_of(own), Path(tmp_path / "run")
    with commands.quick():
        train(run, folder, params=start_of(own, run))
    for script, arguments in (("evaluate.py", ["--tasks=likelihood"]), ("finetune.py", ["--task=yesno", "--data=x"])):
        sentence = commands.run(script, f"--workdir={folder}", *arguments).sentence
        assert "holds a model of the task yesno; name the pretrained run" in sentence
