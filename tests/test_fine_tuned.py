"""A suite fine-tunes its trials: the scores are those of fine-tuning itself, beside random weights, and done once."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import commands
import tasks
from ablation.collect import Condition, Found
from ablation.finetuned import Finetuning, fine_tuned
from ablation.measure import Measurer
from ablation.notes import beside_blind, lost, unasked
from ablation.trials import Trial as Pretraining
from evaluation.task import Entry
from finetuning import trials as finetuning_trials
from finetuning.build import Recipe, open_pretrained
from finetuning.formats.predictions import write_answers
from finetuning.items import item_scores, of_items
from finetuning.scoring import majority, measured, references_of, truth_of, write
from finetuning.trials import Outcome, Trial, Trials
from models import build_model
from models.parameters import initialize
from training.checkpoint import Checkpoints
from training.config import Experiment, OptimizerConfig
from training.workdir import claim_imported

SETS = tasks.classification(train=16, dev=10)
FIELDS = [("data.length", "16"), ("data.batch_size", "8"), ("data.shortest", "16")]  # one bucket: one compilation
HOW = Finetuning(epochs=2, rates=(1e-2,), fields=FIELDS)
STEPS = 2 * 2  # of a run: 16 examples in rows of 8, twice
NAMES = ("yesno", "yesno, from scratch", "yesno, gained")


class Killed(Exception):
    """What a test ends a process with."""


def killed(*_, **__):
    raise Killed


def pretrained_trial(workdir, steps, seed):
    """A trial as a suite leaves it, of parameters that nobody trained."""
    optimizer = OptimizerConfig(total_steps=steps, warmup_steps=0)
    base = Experiment(tasks.CONFIGS["gpt"], tasks.OBJECTIVES["gpt"], optimizer=optimizer, remat="none")
    trial = Pretraining("gpt", dataclasses.replace(base, seed=seed), workdir / f"{steps}-steps" / f"seed-{seed}")
    model = build_model(base.model, tasks.TOKENIZER.vocab.size)
    with Checkpoints(trial.folder) as checkpoints:
        claim_imported(trial.folder, trial.experiment, tasks.TOKENIZER)
        params = jax.jit(lambda key: initialize(model, key))(jax.random.key(7 * seed + steps))
        checkpoints.save(steps, {"params": params})
    return trial


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Trials of one arm: two seeds of 4 steps, and one of 6."""
    workdir = tmp_path_factory.mktemp("suite") / "trials" / "gpt"
    with commands.quick():
        return [pretrained_trial(workdir, steps, seed) for steps, seed in ((4, 0), (4, 1), (6, 0))]


@pytest.fixture(scope="module")
def yardstick():
    """One for all tests, as what it has compiled is kept in it."""
    return fine_tuned(dataclasses.replace(SETS, others={"test": SETS.train[:3]}), how=HOW)


@pytest.fixture(autouse=True)
def entered(monkeypatch):
    """No text is read: a task brings its own."""

    def entry(measurer, trial, length=0):
        checkpoint: Any = SimpleNamespace(workdir=trial.folder, step=trial.steps)
        return Entry(checkpoint, None, 16)

    monkeypatch.setattr(Measurer, "entry", entry)


def measure(trials, yardstick):
    measurer = Measurer(16, lambda line: None)
    with commands.quick():
        measurer.measure(trials, [yardstick])
    return [measurer.items(trial, yardstick) for trial in trials]


def counted(monkeypatch):
    """The folders of the runs that are fine-tuned from now on."""
    found, real = [], finetuning_trials.train

    def train(run, folder, **options):
        found.append(folder)
        return real(run, folder, **options)

    monkeypatch.setattr("finetuning.trials.train", train)
    return found


@pytest.fixture
def found(pretrained, yardstick):
    """What is found of the first two trials: measured once, and then read."""
    return measure(pretrained[:2], yardstick)


def test_progress_counts_the_steps_that_the_plan_says(pretrained, yardstick):
    told = []

    def recorded(entry, watch):
        return yardstick.measure(entry, lambda done, total: [watch(done, total), told.append((done, total))])

    measure(pretrained[:1], dataclasses.replace(yardstick, measure=recorded))
    done, totals = zip(*told, strict=True)
    steps = yardstick.steps(pretrained[0].experiment, tasks.TOKENIZER)
    assert set(totals) == {steps} == {2 * STEPS}, "the model of the trial, and random weights"
    assert list(done) == sorted(done) and done[-1] == 2 * STEPS
    assert set(done) >= {STEPS, STEPS + 1}


def test_scores_are_those_of_fine_tuning_itself_whatever_checkpoint_scratch_is_beside(pretrained, found, tmp_path):
    first, other, _ = pretrained
    for arm, source, metric in (("pretrained", first, NAMES[0]), ("scratch", other, NAMES[1])):
        recipe = Recipe(open_pretrained(source.folder, "latest"), SETS, epochs=2, fields=FIELDS)
        with commands.quick():
            (outcome,) = Trials(recipe, tmp_path).run([Trial(arm, 1e-2, 0)])
        assert found[0][metric].value == outcome.values["accuracy"]
        assert np.array_equal(found[0][metric].weight, np.ones(10)), "an example, an item"
    assert {file.name for file in first.folder.glob("**/predictions-*")} == {"predictions-dev.tsv"}
    for own in found:
        assert list(own) == list(NAMES)
        assert np.array_equal(own[NAMES[2]].total, own[NAMES[0]].total - own[NAMES[1]].total)


def test_what_is_finished_is_not_done_again_and_scratch_serves_all_trials_of_an_arm(
    pretrained, found, yardstick, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setattr("finetuning.trials.train", killed)
        (pretrained[0].folder / "yardsticks.json").unlink()  # killed before it was written
        again = measure(pretrained[:2], yardstick)
    assert all(np.array_equal(again[i][name].total, found[i][name].total) for i in (0, 1) for name in NAMES)

    trained, longer = counted(monkeypatch), pretrained[2]
    (own,) = measure([longer], yardstick)
    (folder,) = trained
    assert longer.folder in folder.parents
    assert np.array_equal(own[NAMES[1]].total, found[0][NAMES[1]].total)


def test_a_measure_that_is_killed_trains_only_what_is_left(pretrained, yardstick, monkeypatch):
    asked = fine_tuned(SETS, how=HOW, name="again")
    real, calls = finetuning_trials.train, []

    def train(run, folder, **options):
        calls.append(folder)
        return killed() if len(calls) == 2 else real(run, folder, **options)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr("finetuning.trials.train", train)
        measure(pretrained[:1], asked)
    trained = counted(monkeypatch)
    measure(pretrained[:1], asked)
    assert trained == calls[1:]


def outcome(trial, score):
    """What a run would have found."""
    return Outcome(trial, 1, {"score": score}, "step 3" if np.isnan(score) else None)


def test_every_seed_of_the_suite_has_runs_of_its_own_and_their_mean_is_its_score(pretrained, monkeypatch):
    asked = []

    def run(trials, own, line):
        asked.append([(trial.arm, trial.rate, trial.seed) for trial in own])
        return [outcome(trial, 0.1 * trial.seed + trial.rate) for trial in own]

    monkeypatch.setattr(Trials, "run", run)
    how = dataclasses.replace(HOW, seeds=3, rates=(1e-2, 2e-2))
    yardstick = fine_tuned(tasks.regression(train=16, dev=10), how=how)
    for found, first in zip(measure(pretrained[:2], yardstick), (0, 3), strict=True):
        score = found["words"]
        assert score.total.shape == (1,) and score.value == pytest.approx(0.1 * (first + 1) + 2e-2), "the best rate"
        assert found["words, gained"].total.tolist() == [0] and found["words, gained"].weight.tolist() == [1]
    every = [(rate, seed) for rate in (1e-2, 2e-2) for seed in range(3)]
    assert asked == [
        [(arm, rate, seed + first) for rate, seed in every] for first in (0, 3) for arm in ("pretrained", "scratch")
    ]
    assert "seeds alone" in yardstick.metrics[0].meaning
    assert "seeds alone" not in fine_tuned(SETS, how=HOW).metrics[0].meaning


def test_a_run_that_diverges_leaves_no_number_and_is_named(pretrained, found, yardstick, monkeypatch):
    real = Trials.run

    def run(trials, own, line):
        return [outcome(own[0], np.nan)] if own[0].arm == "scratch" else real(trials, own, line)

    monkeypatch.setattr(Trials, "run", run)
    asked, trial = dataclasses.replace(yardstick, key="diverged"), pretrained[1]
    (left,) = measure([trial], asked)
    assert list(left) == ["yesno"] and np.array_equal(left["yesno"].total, found[1]["yesno"].total)
    known = Found(Condition("none", {"gpt": [trial]}), [asked], Measurer(16, lambda line: None), {})
    assert np.isnan(known.values("yesno, gained", "gpt")[0]).all()
    (note,) = lost([known], [asked])
    assert note == "Diverged in fine-tuning, and without a number: gpt, seed 1 on yesno, from scratch (none)."
    assert unasked(known, [asked]) == [], "it was asked"


@pytest.mark.parametrize("better", [True, False])
def test_what_answers_without_looking_is_shown_beside_the_arms(pretrained, found, yardstick, better):
    known = Found(Condition("none", {"gpt": pretrained[:1]}), [yardstick], Measurer(16, lambda line: None), {})
    assert yardstick.blind == ("most frequent answer", majority(SETS)["accuracy"])
    least = 0.0 if better else found[0]["yesno"].value  # as many right is no more
    (note,) = beside_blind(known, [dataclasses.replace(yardstick, blind=yardstick.blind._replace(value=least))])
    assert f"training set has {least:.3f} accuracy on yesno, " in note
    assert note.endswith(", less than gpt." if better else "no less than gpt.")


@pytest.mark.parametrize("nullable", [False, True])
def test_items_of_questions_have_the_mean_that_is_their_score(nullable, tmp_path):
    sets, rng = tasks.extraction(nullable), np.random.default_rng(0)
    answers = {each.name: str(rng.choice(["", "[old]", "[boat]", "old [boat]"])) for each in reversed(sets.dev)}
    write_answers(tmp_path / "predictions-dev.json", answers)
    total, weight = item_scores(sets, tmp_path)
    expected = measured(sets.task, [answers[each.name] for each in sets.dev], references_of(sets.dev))
    assert 0 < total.mean() == pytest.approx(expected["score"]) and weight.tolist() == [1] * len(sets.dev)


@pytest.mark.parametrize("kind", ["classification", "tagging", "choice"])
def test_items_of_a_task_have_the_mean_that_is_its_score(kind, tmp_path):
    sets, rng = getattr(tasks, kind)(), np.random.default_rng(0)
    if kind == "tagging":
        predicted = [[str(rng.choice(sets.labels)) for _ in each.words] for each in sets.dev]
    else:
        predicted = rng.integers(len(sets.labels), size=len(sets.dev))
    write(tmp_path, sets, "dev", predicted)
    total, weight = item_scores(sets, tmp_path)
    assert of_items(sets.task) and len(total) == len(sets.dev)
    assert total.sum() / weight.sum() == pytest.approx(
        measured(sets.task, predicted, truth_of(sets.dev, sets.labels))["score"]
    )
    if kind == "tagging":
        assert weight.tolist() == [len(each.words) for each in sets.dev]
