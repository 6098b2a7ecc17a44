"""What the yardsticks find of each trial, kept beside it: nothing is measured twice."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ablation.trials import Report, Trial, open_trial
from ablation.yardsticks import Items, Yardstick
from batch import InputError
from data.prepare import Prepared
from evaluation.checkpoints import Checkpoint, Text
from evaluation.passes import Subject
from evaluation.task import Entry
from models import Model
from models.parameters import abstract_params
from training.checkpoint import Checkpoints
from training.config import Experiment
from training.progress import Progress

FILE = "yardsticks.json"


class Measurer:
    """Measures trials; what is compiled for one serves all of its arm, and data is prepared once for an arm."""

    def __init__(self, length: int, report: Report):
        """`length`: tokens of a block, where a yardstick does not say."""
        self._length, self._report = length, report
        self._opened: dict[Experiment, tuple[Model, Prepared]] = {}

    def measure(self, trials: Sequence[Trial], yardsticks: Sequence[Yardstick]) -> None:
        """Asks every trial what has not been asked yet."""
        left = [
            (trial, yardstick)
            for trial in sorted(set(trials), key=lambda each: (each.seed, each.arm, str(each.folder)))
            if trial.diverged is None
            for yardstick in yardsticks
            if yardstick.asks(trial.experiment) and self._key(trial, yardstick) not in _stored(trial)
        ]
        with Progress(1000 * len(left), "measuring") as progress:
            for number, (trial, yardstick) in enumerate(left):
                progress.label = f"{trial.name}: {yardstick.metrics[0].name}"
                watch = lambda done, total, before=1000 * number: progress.update(before + 1000 * done // max(total, 1))  # noqa: E731
                found = yardstick.measure(self.entry(trial, yardstick.length), watch)
                _store(trial, self._key(trial, yardstick), found)

    def items(self, trial: Trial, yardstick: Yardstick) -> Mapping[str, Items]:
        """What was found of a trial; nothing of one that diverged or could not be asked."""
        return _stored(trial).get(self._key(trial, yardstick), {})

    def entry(self, trial: Trial, length: int = 0) -> Entry:
        """The trained model of a trial and the held-out text."""
        own = dataclasses.replace(trial.experiment, seed=0)
        if own not in self._opened:
            run = open_trial(trial, self._report)
            self._opened[own] = run.model, run.prepared
        model, prepared = self._opened[own]
        stored = Checkpoints(trial.folder).restore_params(trial.steps, abstract_params(model))
        params = jax.tree.map(jnp.asarray, stored)
        subject = Subject(trial.experiment.model, model, params, trial.experiment.objective, prepared.vocab)
        checkpoint = Checkpoint(trial.folder, trial.steps, trial.experiment, prepared.tokenizer, subject)
        return Entry(checkpoint, Text(prepared.validation, prepared.train), length or self._length)

    def _key(self, trial: Trial, yardstick: Yardstick) -> str:
        return f"{yardstick.key}; blocks of {yardstick.length or self._length}; step {trial.steps}"


def _stored(trial: Trial) -> dict[str, dict[str, Items]]:
    file = trial.folder / FILE
    if not file.exists():
        return {}
    try:
        values = json.loads(file.read_text())
        return {
            key: {name: Items(*(np.array(each, np.float64) for each in items)) for name, items in found.items()}
            for key, found in values.items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: is damaged ({type(error).__name__}); delete it to measure again.") from error


def _store(trial: Trial, key: str, found: Mapping[str, Items]) -> None:
    values = {**_stored(trial), key: found}
    plain = {
        key: {name: [each.total.tolist(), each.weight.tolist()] for name, each in items.items()}
        for key, items in values.items()
    }
    building = trial.folder / f"{FILE}.tmp"
    building.write_text(json.dumps(plain))
    os.replace(building, trial.folder / FILE)
