"""What is trained to compare pretraining with none: every run has a folder, and is trained once."""

import contextlib
import dataclasses
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, SupportsFloat

from ablation.origin import commit
from ablation.trials import Trial as Pretraining
from ablation.trials import open_trial
from benchmarks.transfer_table import Comparison
from benchmarks.transfer_tasks import TEXTS, Real, folder_of, tuning
from configs.shared import MINI, TINY, Size
from finetuning.build import Arm, Fields, Recipe, open_pretrained
from finetuning.scoring import majority
from finetuning.task import Sets
from finetuning.trials import Outcome, Trial, Trials, summarize, write_whole
from training.config import TrainingConfig
from training.loop import train
from training.metrics import read_records
from training.overrides import override
from training.progress import Part, Progress

FAMILIES = {"bert": "BERT", "gpt": "GPT", "xlnet": "XLNet"}
ARMS: tuple[Arm, Arm] = ("scratch", "pretrained")

ROWS = 16
"""Of a batch, in pretraining and in fine-tuning."""

TUNING_SEEDS = 1
"""For each learning rate, on a part of the training set."""

WEIGHT = 2
"""Updates of fine-tuning that take about as long as one of pretraining: progress counts in the former."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """Which models, and how long they are pretrained unless told."""

    size: Size
    precision: Literal["float32", "bfloat16"]
    steps: int


SCALES = {"tiny": Scale(TINY, "float32", 450), "mini": Scale(MINI, "bfloat16", 3600)}
"""The steps of mini take about 20 minutes on two cores."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is the same for all runs."""

    data: Path
    workdir: Path
    scale: Scale
    steps: int  # of pretraining
    updates: int  # of fine-tuning, and of choosing its learning rate
    rates: tuple[float, ...]
    seeds: int
    fields: Fields = ()  # that change pretraining, as --config.FIELD=VALUE does

    def pretraining(self, text: str, family: str) -> Pretraining:
        """The experiment of a family on a text: all families read the same tokens in the same order."""
        base = getattr(self.scale.size, family)()
        folder = folder_of(self.data, TEXTS[text])
        experiment = dataclasses.replace(
            base,
            data=dataclasses.replace(base.data, corpus=str(folder), cache=str(self.workdir / "cache"), batch_size=ROWS),
            optimizer=dataclasses.replace(base.optimizer, total_steps=self.steps, warmup_steps=self.steps // 10),
            training=TrainingConfig(log_every=50, eval_every=max(1, self.steps // 4), save_every=250),
            precision=self.scale.precision,
        )
        folder = self.workdir / "pretrained" / text / family
        return Pretraining(f"{FAMILIES[family]} on {text} text", override(experiment, self.fields), folder)

    def recipe(self, text: str, family: str, sets: Sets) -> Recipe:
        """The same fine-tuning for both arms. One evaluation, at the end: no checkpoint is chosen by the dev set."""
        pretrained = open_pretrained(self.pretraining(text, family).folder, "latest")
        length = min(128, pretrained.experiment.data.length)
        fields = {
            "data.batch_size": ROWS,
            "data.length": length,
            "data.shortest": min(32, length),
            "optimizer.total_steps": self.updates,
            "optimizer.warmup_steps": self.updates // 10,
            "training.eval_every": self.updates,
            "training.save_every": self.updates,
            "training.on_nonfinite": "skip",
        }
        return Recipe(pretrained, sets, fields=[(name, str(value)) for name, value in fields.items()])

    def work(self, tasks: Mapping[Real, Sets]) -> int:
        """All of it, in updates of fine-tuning."""
        tuned = TUNING_SEEDS * len(self.rates) if len(self.rates) > 1 else 0
        texts = dict.fromkeys(task.text for task in tasks)
        before = sum(self.pretraining(text, family).steps for text in texts for family in FAMILIES)
        return WEIGHT * before + len(tasks) * len(FAMILIES) * len(ARMS) * (tuned + self.seeds) * self.updates


class Weighted(Part):
    """A part whose steps are several of the whole's."""

    def __init__(self, whole: Progress, done: int, label: str, weight: int):
        super().__init__(whole, done, label)
        self._weight = weight

    def update(self, step: int, **values: SupportsFloat) -> None:
        super().update(step * self._weight, **values)


class Course:
    """How far all of it is, and the seconds of each stage, which a file keeps."""

    def __init__(self, progress: Progress, file: Path):
        self.progress, self.file, self._done = progress, file, 0
        self._commit = commit(Path(__file__).parents[1])

    def part(self, label: str, steps: int, weight: int = 1) -> Part:
        """The line of what comes next."""
        part = Weighted(self.progress, self._done, label, weight)
        self._done += steps * weight
        return part

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the seconds of the block to those of a stage, and under which commit they were spent."""
        began = time.monotonic()
        try:
            yield
        finally:
            told = stages(self.file)
            spent = told.setdefault(stage, {"seconds": 0.0, "commits": []})
            spent["seconds"] = round(spent["seconds"] + time.monotonic() - began, 1)
            spent["commits"] = sorted({*spent["commits"], self._commit})
            write_whole(self.file, json.dumps(told, indent=1) + "\n")


def stages(file: Path) -> dict[str, Any]:
    """What each stage has taken until now."""
    return json.loads(file.read_text()) if file.exists() else {}


def pretrain(plan: Plan, text: str, family: str, course: Course) -> dict[str, Any]:
    """Trains one model on one text, as train.py does, and says what its records do."""
    trial = plan.pretraining(text, family)
    part = course.part(f"pretraining {trial.arm}", trial.steps, WEIGHT)
    run = open_trial(trial, course.progress.note)
    if not trial.done:
        with course.timed(f"pretraining {trial.arm}"):
            train(run, trial.folder, progress=part)
    records = read_records(trial.folder)
    spent = next(each for each in reversed(records) if "tokens" in each)
    measured = next(each for each in reversed(records) if each.get("split") == "validation")
    told = {name: spent[name] for name in ("step", "tokens", "predicted", "stream")}
    losses = {name: measured[name] for name in ("loss", "unigram_loss")}
    return {"text": text, "model": FAMILIES[family], **told, **losses}


def compare(plan: Plan, task: Real, sets: Sets, family: str, course: Course) -> Comparison:
    """Fine-tunes a model from its checkpoint and from random weights, with the same seeds.

    Each arm learns at the rate of the grid that is best for it on a part of the training set, by the mean of
    TUNING_SEEDS seeds, of equals the first; then from all of it.
    """
    folder, kept = plan.workdir / "tasks" / task.name / family, {}
    chosen: dict[Arm, float] = dict.fromkeys(ARMS, plan.rates[0])
    label = f"{task.name}, {FAMILIES[family]}"
    if len(plan.rates) > 1:
        trials = Trials(plan.recipe(task.text, family, tuning(sets)), folder / "tuning", kept, "workdir")
        asked = [Trial(arm, rate, seed) for arm in ARMS for rate in plan.rates for seed in range(TUNING_SEEDS)]
        outcomes = finished(trials, asked, f"{label}, tuning", course)
        chosen = {found.arm: found.rate for found in summarize(outcomes)}
    trials = Trials(plan.recipe(task.text, family, sets), folder / "final", kept, "workdir")
    asked = [Trial(arm, chosen[arm], seed) for arm in ARMS for seed in range(plan.seeds)]
    outcomes = finished(trials, asked, label, course)
    scores: dict[Arm, tuple[float, ...]] = {
        arm: tuple(each.values["score"] for each in outcomes if each.trial.arm == arm) for arm in ARMS
    }
    return Comparison(
        task.name,
        FAMILIES[family],
        " and ".join(sets.task.metrics),
        len(sets.train),
        len(sets.dev),
        chosen,
        scores,
        majority(sets)["score"],
    )


def finished(trials: Trials, asked: Sequence[Trial], label: str, course: Course) -> list[Outcome]:
    """The outcome of each trial. What is finished is read; of what is trained, only numbers and predictions stay."""
    outcomes = []
    for trial in asked:
        run = trials.build(trial)
        told = f"{label}, {trial.arm}, rate {trial.rate:g}, seed {trial.seed}"
        part = course.part(told, run.experiment.optimizer.total_steps)
        outcome = trials.finished(trial)
        if outcome is None:
            with course.timed(label):
                outcome = trials.train(trial, run, part)
        for folder in (path for path in (trials.output / trial.folder).iterdir() if path.is_dir()):
            shutil.rmtree(folder)  # checkpoints are gigabytes in all, and finished runs are not gone on with
        outcomes.append(outcome)
    return outcomes
