"""Arms, learning rates and seeds of one task: each is a folder, which is trained once and gone on with where it was."""

import dataclasses
import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from finetuning.answers import THRESHOLD, answers_of, write_found
from finetuning.build import Arm, Recipe, build_task_run, encode, encoded, experiment_of, start_of
from finetuning.formats.predictions import write_predictions
from finetuning.run import TaskRun, predict
from finetuning.scoring import predictions_of, written
from finetuning.stream import HeldOutExamples
from finetuning.task import Example
from training.checkpoint import Checkpoints
from training.disk import writing
from training.loop import train
from training.progress import Part, Progress
from training.trainable import Programs
from training.workdir import check_identity

RESULT = "result.json"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run: an arm at a learning rate, from a seed."""

    arm: Arm
    rate: float
    seed: int

    @property
    def folder(self) -> Path:
        """Where it lies below the folder of the task."""
        return Path(self.arm) / f"rate-{self.rate:g}" / f"seed-{self.seed}"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the best checkpoint of a trial measured on the dev set."""

    trial: Trial
    step: int
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Summary:
    """An arm at its best learning rate: the one with the highest mean score on the dev set."""

    arm: Arm
    rate: float
    outcomes: tuple[Outcome, ...]

    def values(self, name: str) -> list[float]:
        """A metric of each seed."""
        return [outcome.values[name] for outcome in self.outcomes]

    def mean(self, name: str) -> float:
        return statistics.fmean(self.values(name))

    def deviation(self, name: str) -> float:
        """The standard deviation over seeds; NaN of one seed."""
        values = self.values(name)
        return statistics.stdev(values) if len(values) > 1 else math.nan


def summarize(outcomes: Sequence[Outcome]) -> list[Summary]:
    """Each arm at its best rate, of equals the first."""
    found = []
    told: list[Arm] = [outcome.trial.arm for outcome in outcomes]
    for arm in dict.fromkeys(told):
        own = [outcome for outcome in outcomes if outcome.trial.arm == arm]
        rates = dict.fromkeys(outcome.trial.rate for outcome in own)
        arms = [Summary(arm, rate, tuple(each for each in own if each.trial.rate == rate)) for rate in rates]
        found.append(max(arms, key=lambda summary: summary.mean("score")))
    return found


class Trials:
    """The trials of a recipe below a folder; sets are encoded once, and a learning rate is compiled once."""

    def __init__(self, recipe: Recipe, output: Path):
        self.recipe, self.output = recipe, output
        self._programs: dict[float, Programs] = {}

    def run(self, trials: Sequence[Trial]) -> list[Outcome]:
        """The outcome of each; those that are finished are read. Raises what `training.loop.train` raises."""
        runs = [self.build(trial) for trial in trials]
        done, outcomes = 0, []
        with Progress(sum(run.experiment.optimizer.total_steps for run in runs), self.output.name) as progress:
            for trial, run in zip(trials, runs, strict=True):
                label = f"{trial.arm}, rate {trial.rate:g}, seed {trial.seed}"
                outcome = self.finished(trial) or self.train(trial, run, Part(progress, done, label))
                outcomes.append(outcome)
                done += run.experiment.optimizer.total_steps
                progress.note(f"{label}: best at step {outcome.step}, {run.note(dict(outcome.values))}")
        return outcomes

    def build(self, trial: Trial) -> TaskRun:
        """The run of a trial. Raises InputError where its folder holds another one."""
        experiment = experiment_of(self.recipe, trial.arm, trial.rate, trial.seed)
        train, dev = encoded(self.recipe, "train", experiment.data), encoded(self.recipe, "dev", experiment.data)
        run = build_task_run(self.recipe, experiment, train, dev)
        check_identity(self.output / trial.folder, experiment, run.prepared)
        return run

    def finished(self, trial: Trial) -> Outcome | None:
        """What a finished trial measured, None where it is not finished."""
        try:
            found = json.loads((self.output / trial.folder / RESULT).read_text())
        except FileNotFoundError:
            return None
        return Outcome(trial, found["step"], found["values"])

    def train(self, trial: Trial, run: TaskRun, progress: Part) -> Outcome:
        """Trains, predicts every set with the best checkpoint, and writes down that the trial is finished."""
        folder, programs = self.output / trial.folder, self.programs(trial.rate, run)
        params = None if Checkpoints(folder).steps else start_of(self.recipe, run)
        train(run, folder, params=params, programs=programs, progress=progress)
        checkpoints = Checkpoints(folder, least=run.least)
        best = checkpoints.best
        step = checkpoints.steps[-1] if best is None else best
        measured = checkpoints.metrics(step)
        values = {name: float(measured.get(name, "nan")) for name in ("loss", *self.recipe.sets.task.metrics, "score")}
        values |= {THRESHOLD: float(measured[THRESHOLD])} if THRESHOLD in measured else {}
        best_params = jax.tree.map(jnp.asarray, checkpoints.restore_params(step))
        for name, examples in {"dev": self.recipe.sets.dev, **self.recipe.sets.others}.items():
            predicted = self.predict(run, programs, best_params, examples)
            if self.recipe.sets.task.kind == "extraction":
                nullable = run.experiment.data.nullable
                write_found(folder, name, predicted, values.get(THRESHOLD, 0.0), nullable=nullable)
            else:
                write_predictions(folder / f"predictions-{name}.tsv", [each.name for each in examples], predicted)
        write_whole(folder / RESULT, json.dumps({"step": step, "values": values}, indent=2) + "\n")
        return Outcome(trial, step, values)

    def predict(self, run: TaskRun, programs: Programs, params: Any, examples: Sequence[Example]) -> list[Any]:
        """The predictions for a set, as files say them; of questions, all that is known of their answers."""
        data, dev = run.experiment.data, run.dev
        rows = dev.examples if examples is run.sets.dev else encode(self.recipe, examples, data)
        _, scores = predict(programs.evaluate, params, HeldOutExamples(data, rows, dev.pad_side, dev.pad), run.mesh)
        if run.sets.task.kind == "extraction":
            return answers_of(scores, rows, data)
        return written(predictions_of(scores, rows, data.labels), data.labels)

    def programs(self, rate: float, run: TaskRun) -> Programs:
        """What is compiled for a learning rate: seeds and arms differ in values alone."""
        if rate not in self._programs:
            self._programs[rate] = run.programs()
        return self._programs[rate]


def write_whole(path: Path, text: str) -> None:
    """Writes a file that is there complete or not at all."""
    building = path.with_name(f"{path.name}.tmp")
    with writing(lambda reason: f"{path}: cannot be written ({reason})"):
        building.write_text(text, encoding="utf-8")
        os.replace(building, path)
