"""Trials: one arm, one number of steps, one seed, in a folder of its own that any command can open as a workdir."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ablation.budget import rescheduled
from batch import InputError
from training.build import Programs, Run, build_run
from training.checkpoint import Checkpoints
from training.config import Experiment, TrainingConfig
from training.initial import initial_params, initial_tokenizer
from training.loop import Diverged, train
from training.progress import Part, Progress
from training.workdir import check_identity

Report = Callable[[str], None]

DIVERGED = "diverged.txt"
"""Says in a trial's folder why it ended: it is not tried again."""


@dataclasses.dataclass(frozen=True)
class Trial:
    arm: str
    experiment: Experiment
    folder: Path

    @property
    def seed(self) -> int:
        return self.experiment.seed

    @property
    def steps(self) -> int:
        return self.experiment.optimizer.total_steps

    @property
    def name(self) -> str:
        return f"{self.arm}, seed {self.seed}"

    @property
    def diverged(self) -> str | None:
        """Why it ended early, if it did."""
        file = self.folder / DIVERGED
        return file.read_text() if file.exists() else None

    @property
    def done(self) -> bool:
        """Whether there is nothing left to train."""
        return self.diverged is not None or Checkpoints(self.folder).latest == self.steps


def trial(workdir: Path, arm: str, experiment: Experiment, steps: int, seed: int, rate: float | None = None) -> Trial:
    """The trial of an arm: its schedule over `steps`, at another peak rate if given."""
    own = rescheduled(experiment, steps)
    folder = workdir / "trials" / slug(arm) / f"{steps}-steps"
    if rate is not None and rate != own.optimizer.peak_rate:
        own = dataclasses.replace(own, optimizer=dataclasses.replace(own.optimizer, peak_rate=rate))
        folder = folder.with_name(f"{folder.name}-rate-{rate:g}")
    return Trial(arm, dataclasses.replace(own, seed=seed), folder / f"seed-{seed}")


def of_arm(folder: Path) -> Path:
    """The folder of an arm, which that of a trial is in, whatever its steps, its rate and its seed."""
    return folder.parents[1]


def slug(arm: str) -> str:
    """The name of an arm as a folder."""
    return re.sub(r"[^\w.=-]+", "-", arm).strip("-.") or "arm"


def check_slugs(arms: Sequence[str]) -> None:
    """Raises InputError where two arms would share a folder."""
    taken: dict[str, str] = {}
    for arm in arms:
        other = taken.setdefault(slug(arm).lower(), arm)
        if other != arm:
            raise InputError(f"arm {arm}: its folder would be that of {other}; rename one.")


def open_trial(trial: Trial, report: Report) -> Run:
    """What runs a trial. Raises InputError where its parts do not fit, or its folder holds something else."""
    run = build_run(trial.experiment, report, initial_tokenizer(trial.experiment))
    check_identity(trial.folder, trial.experiment, run.prepared)
    return run


class Trainer:
    """Trains trials one after the other; those that differ in their seed alone share what is compiled."""

    def __init__(self, report: Report):
        self._report = report
        self._programs: dict[Experiment, Programs] = {}

    def train(self, trials: Sequence[Trial]) -> None:
        """Trains what is not done yet, seed by seed: what is killed goes on from its newest checkpoint."""
        left = [trial for trial in dict.fromkeys(trials) if not trial.done]
        with Progress(sum(trial.steps for trial in left), "trials") as progress:
            done = 0
            for number, trial in enumerate(sorted(left, key=lambda each: each.seed), 1):
                label = f"{trial.name} ({number}/{len(left)})"
                if (reason := self._train(trial, Part(progress, done, label))) is not None:
                    progress.note(f"{trial.name}: {reason}")
                done += trial.steps

    def _train(self, trial: Trial, progress: Part) -> str | None:
        """Why it ended early, if it did."""
        run = open_trial(trial, self._report)
        cadence = TrainingConfig(on_nonfinite=trial.experiment.training.on_nonfinite)  # the one field that is compiled
        own = dataclasses.replace(trial.experiment, seed=0, training=cadence)
        programs = self._programs.setdefault(own, run.programs())
        params = None if Checkpoints(trial.folder).steps else initial_params(run, self._report)
        try:
            train(run, trial.folder, params=params, programs=programs, progress=progress)
        except Diverged as error:
            (trial.folder / DIVERGED).write_text(f"{error}\n")
        return trial.diverged


def by_arm(trials: Sequence[Trial]) -> Mapping[str, list[Trial]]:
    """The trials of each arm, by seed."""
    found: dict[str, list[Trial]] = {}
    for each in sorted(trials, key=lambda trial: trial.seed):
        found.setdefault(each.arm, []).append(each)
    return found
