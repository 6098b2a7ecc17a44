"""Arms, learning rates and seeds of one task: each is a folder, which is trained once and gone on with where it was."""

import dataclasses
import json
import math
import os
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from finetuning.answers import THRESHOLD, answers_of, said, write_found
from finetuning.build import Arm, Recipe, build_task_run, encoded, experiment_of, start_of
from finetuning.encoding import Encoded
from finetuning.frozen import Frozen
from finetuning.kept import settle, write_lean
from finetuning.run import TaskRun, predict
from finetuning.scoring import measured_on, predictions_of, write
from finetuning.stream import HeldOutExamples
from models.parameters import abstract_params
from training.checkpoint import Checkpoints
from training.disk import writing
from training.loop import Diverged, train
from training.metrics import json_value
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
    """What the best checkpoint of a trial measured on the dev set and on further ones, or that the trial diverged."""

    trial: Trial
    step: int | None  # of that checkpoint; None where there is none
    values: Mapping[str, float]  # NaN where it diverged, or where the set was not there
    diverged: str | None = None  # at which step, and what was no longer a number


@dataclasses.dataclass(frozen=True)
class Summary:
    """An arm at one learning rate."""

    arm: Arm
    rate: float
    outcomes: tuple[Outcome, ...]

    @property
    def diverged(self) -> int:
        """How many seeds did."""
        return sum(outcome.diverged is not None for outcome in self.outcomes)

    @property
    def rank(self) -> tuple[int, float]:
        """What the best rate has the most of: seeds that did not diverge, then their mean score on the dev set."""
        scores = [outcome.values["score"] for outcome in self.outcomes if outcome.diverged is None]
        return len(scores), statistics.fmean(scores) if scores else 0.0

    def values(self, name: str) -> list[float]:
        """A metric of each seed; NaN of one that diverged."""
        return [outcome.values[name] for outcome in self.outcomes]

    def mean(self, name: str) -> float:
        """The mean over seeds; NaN where one diverged."""
        return statistics.fmean(self.values(name))

    def deviation(self, name: str) -> float:
        """The standard deviation over seeds; NaN of one seed, and where one has no value."""
        values = self.values(name)
        return statistics.stdev(values) if len(values) > 1 and not any(map(math.isnan, values)) else math.nan


def summarize(outcomes: Sequence[Outcome]) -> list[Summary]:
    """Each arm at its best rate, of equals the first."""
    found = []
    told: list[Arm] = [outcome.trial.arm for outcome in outcomes]
    for arm in dict.fromkeys(told):
        own = [outcome for outcome in outcomes if outcome.trial.arm == arm]
        rates = dict.fromkeys(outcome.trial.rate for outcome in own)
        arms = [Summary(arm, rate, tuple(each for each in own if each.trial.rate == rate)) for rate in rates]
        found.append(max(arms, key=lambda summary: summary.rank))
    return found


class Trials:
    """The trials of a recipe below a folder; sets are encoded once, and a learning rate is compiled once.

    `programs` are what is compiled for each rate: recipes that differ in their checkpoint alone can share it.
    `flag` names what chose the folder.
    """

    def __init__(
        self, recipe: Recipe, output: Path, programs: dict[float, Programs] | None = None, flag: str = "output"
    ):
        self.recipe, self.output, self._flag = recipe, output, flag
        self._programs = {} if programs is None else programs
        self._frozen, self._sets = Frozen(output / "features"), dict[str, Encoded]()

    def run(self, trials: Sequence[Trial], line: Callable[[int, str], Progress] = Progress) -> list[Outcome]:
        """The outcome of each; those that are finished are read. A `line` of so many steps shows how far they are.

        One that diverges says so, and the others go on. Raises what else `training.loop.train` raises.
        """
        runs = [self.build(trial) for trial in trials]
        done, outcomes = 0, []
        with line(sum(run.experiment.optimizer.total_steps for run in runs), self.output.name) as progress:
            for trial, run in zip(trials, runs, strict=True):
                label = f"{trial.arm}, rate {trial.rate:g}, seed {trial.seed}"
                outcome = self.finished(trial) or self.train(trial, run, Part(progress, done, label))
                settle(self.output / trial.folder)
                outcomes.append(outcome)
                done += run.experiment.optimizer.total_steps
                progress.note(f"{label}: {ended(run, outcome)}")
        return outcomes

    def build(self, trial: Trial) -> TaskRun:
        """The run of a trial. Raises InputError where its folder holds another one."""
        experiment = experiment_of(self.recipe, trial.arm, trial.rate, trial.seed)
        train, dev = encoded(self.recipe, "train", experiment.data), encoded(self.recipe, "dev", experiment.data)
        run = build_task_run(self.recipe, experiment, train, dev)
        check_identity(self.output / trial.folder, experiment, run.prepared, self._flag)
        return run

    def finished(self, trial: Trial) -> Outcome | None:
        """What a finished trial measured, None where it is not finished; NaN on a set that was not there then."""
        try:
            found = json.loads((self.output / trial.folder / RESULT).read_text())
        except FileNotFoundError:
            return None
        values = dict.fromkeys(self.measured, math.nan)
        values |= {name: float(value) for name, value in found["values"].items()}
        return Outcome(trial, found["step"], values, found["diverged"])

    def train(self, trial: Trial, run: TaskRun, progress: Part) -> Outcome:
        """Trains, predicts every set with the best checkpoint, and writes down that the trial is finished."""
        folder, programs = self.output / trial.folder, self.programs(trial.rate, run)
        run = self.read_once(run, progress) if self.keeps else run
        params = None if Checkpoints(folder).steps else start_of(self.recipe, run)
        try:
            train(run, folder, params=params, programs=programs, progress=progress)
            outcome = self.judged(trial, run, programs)
        except Diverged as error:
            shutil.rmtree(Checkpoints(folder).folder, ignore_errors=True)
            outcome = Outcome(trial, None, dict.fromkeys(self.measured, math.nan), error.found)
        told = {name: json_value(value) for name, value in outcome.values.items()}
        result = {"step": outcome.step, "values": told, "diverged": outcome.diverged}
        write_whole(folder / RESULT, json.dumps(result, indent=2) + "\n")
        return outcome

    def judged(self, trial: Trial, run: TaskRun, programs: Programs) -> Outcome:
        """What the best checkpoint of a trial measured; it predicts every set, and its parameters are kept."""
        folder = self.output / trial.folder
        checkpoints = Checkpoints(folder, least=run.least)
        step = checkpoints.resolve("best")
        params, told = checkpoints.restore_params(step, abstract_params(run.model)), dict(checkpoints.metrics(step))
        threshold, placed = told.get(THRESHOLD), jax.device_put(params)
        for name in ("dev", *self.recipe.sets.others):
            predicted = self.predict(run, programs, placed, name)
            if run.sets.task.kind == "extraction":
                write_found(folder, name, predicted, threshold)
                predicted = said(predicted, threshold)
            else:
                write(folder, self.recipe.sets, name, predicted)
            told |= measured_on(self.recipe.sets, name, predicted)
        write_lean(folder, step, params)
        names = (*self.measured, *({THRESHOLD} & told.keys()))
        return Outcome(trial, step, {name: float(told[name]) for name in names})

    @property
    def keeps(self) -> bool:
        """Whether a frozen trunk reads each set once."""
        return self.recipe.keep and self.recipe.adapt == "frozen"

    def rows(self, run: TaskRun, name: str) -> Encoded:
        """A set of a run, with what its trunk says of it if that is kept."""
        return self._sets[name] if self.keeps else encoded(self.recipe, name, run.experiment.data)

    def read_once(self, run: TaskRun, progress: Part) -> TaskRun:
        """The run over what its trunk says of its sets, in place of running it."""
        names = ("train", "dev", *self.recipe.sets.others)
        sets = {name: encoded(self.recipe, name, run.experiment.data) for name in names}
        self._sets = self._frozen.sets(run, sets, lambda: start_of(self.recipe, run), progress.warn)
        return build_task_run(self.recipe, run.experiment, self._sets["train"], self._sets["dev"])

    @property
    def measured(self) -> tuple[str, ...]:
        """The names of what is told of a trial."""
        return "loss", *self.recipe.sets.measures, "score"

    def predict(self, run: TaskRun, programs: Programs, params: Any, name: str) -> Any:
        """The predictions for a set; of questions, all that is known of their answers."""
        data, dev, rows = run.experiment.data, run.dev, self.rows(run, name)
        _, scores = predict(programs.evaluate, params, HeldOutExamples(data, rows, dev.pad_side, dev.pad), run.mesh)
        if run.sets.task.kind == "extraction":
            return answers_of(scores, rows, data)
        return predictions_of(scores, rows, data.labels)

    def programs(self, rate: float, run: TaskRun) -> Programs:
        """What is compiled for a learning rate: seeds and arms differ in values alone."""
        if rate not in self._programs:
            self._programs[rate] = run.programs()
        return self._programs[rate]


def ended(run: TaskRun, outcome: Outcome) -> str:
    """How a trial ended, for people."""
    if outcome.diverged is not None:
        return f"diverged, {outcome.diverged}"
    return f"best at step {outcome.step}, {run.note(dict(outcome.values))}"


def write_whole(path: Path, text: str) -> None:
    """Writes a file that is there complete or not at all."""
    building = path.with_name(f"{path.name}.tmp")
    with writing(lambda reason: f"{path}: cannot be written ({reason})"):
        building.write_text(text, encoding="utf-8")
        os.replace(building, path)
