"""Fine-tuning as a yardstick: what the model of a trial gets on a task, beside the same model from random weights.

A trial is fine-tuned from its last checkpoint. Of F seeds of fine-tuning a trial of seed s has s F to s F + F - 1: they
draw the head and the order of the examples, the same for all arms and for the models from random weights. So scores
are paired by seed, and every seed of the suite has runs of its own on both sides.
"""

import dataclasses
import functools
import hashlib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, SupportsFloat, TypeVar, get_args

import numpy as np

from ablation.results import Metric
from ablation.trials import of_arm, slug
from ablation.yardsticks import Blind, Items, Measured, Yardstick
from batch import InputError
from data.task import Adapt
from data.tokenizer import AnyTokenizer
from evaluation.batched import Watch
from evaluation.task import Entry
from finetuning.adaptation import ADAPTATIONS
from finetuning.build import Arm, Fields, Pretrained, Recipe, build_task_run, encoded, experiment_of, open_pretrained
from finetuning.files import Layout
from finetuning.items import item_scores, of_items
from finetuning.rates import rates_of
from finetuning.run import TaskRun
from finetuning.scoring import majority
from finetuning.sources import open_sets
from finetuning.summary import baseline
from finetuning.task import Sets
from finetuning.trials import Trial, Trials, summarize
from objectives.tasks import Visibility
from training.config import Experiment
from training.progress import Progress
from training.trainable import Programs

FOLDER = "fine-tuned"
"""Of the runs, in the folder of a trial; of those from random weights, which know of no trial, in that of its arm."""

ARMS: tuple[Arm, ...] = get_args(Arm)

Found = TypeVar("Found")


@dataclasses.dataclass(frozen=True)
class Finetuning:
    """How models learn a task, as the flags of finetune.py say it."""

    seeds: int = 1  # of fine-tuning, for each seed of the suite
    epochs: int = 3
    rates: Sequence[float] | str = "default"  # by the width of the model; or "paper"; the best on dev counts
    adapt: Adapt = "full"
    layers: str = "last"  # that a frozen trunk is read at
    visibility: Visibility | None = None
    language_weight: float = 0.0
    fields: Fields = ()  # that change an experiment, as --config.FIELD=VALUE does

    def __post_init__(self):
        for name in ("seeds", "epochs"):
            if getattr(self, name) < 1:
                raise InputError(f"fine_tuned: {name}={getattr(self, name)}: must be at least 1.")
        for name, kind in (("adapt", Adapt), ("visibility", Visibility)):
            given, known = getattr(self, name), get_args(kind)
            if given not in known and not (given is None and name == "visibility"):
                raise InputError(f"fine_tuned: {name}={given}: is one of {', '.join(known)}.")
        unflagged(lambda: self.rates_for(1))

    def rates_for(self, model_dim: int) -> tuple[float, ...]:
        """The learning rates of a model so wide. Raises InputError where they are none."""
        given = self.rates if isinstance(self.rates, str) else ",".join(map(str, self.rates))
        return rates_of(given, model_dim, ADAPTATIONS[self.adapt].rate)


class Names(NamedTuple):
    """The metrics of a task."""

    tuned: Metric
    scratch: Metric
    gained: Metric


def fine_tuned(
    task: str | Sets,
    data: str | Path | None = None,
    *,
    layout: Layout | None = None,
    how: Finetuning | None = None,
    name: str | None = None,
) -> Yardstick:
    """The dev score of each trial after fine-tuning; that of its model from random weights; and what it gained.

    `task` and the folder `data` are as finetune.py has them, with its flags of columns and files in `layout`; or `task`
    is the sets themselves. The metrics are NAME, "NAME, from scratch" and "NAME, gained", of the `name` or else the
    task's. Raises InputError where the sets cannot be read.
    """
    how = how or Finetuning()
    if isinstance(task, Sets):
        sets = task
    elif data is None:
        raise InputError(f"fine_tuned: the task {task} has no data; give the folder of its files, as in data=DIR.")
    else:
        sets = unflagged(lambda: open_sets(task, Path(data), layout or Layout(), print))
    sets = dataclasses.replace(sets, others={}, submitted={})  # nobody reads what is predicted for test sets
    called = name or (sets.task.name if how.adapt == "full" else f"{sets.task.name}, {how.adapt}")
    asked = Asked(sets, str(data or ""), how, names_of(called, sets, how))
    return Yardstick(
        tuple(asked.names),
        asked.measure,
        f"fine-tuned {asked.digest} {how.seeds} {how.rates} {called}",
        steps=asked.steps,
        blind=Blind("mean" if baseline(sets) == "mean" else "most frequent answer", majority(sets)["score"]),
    )


def names_of(called: str, sets: Sets, how: Finetuning) -> Names:
    """What is measured on a task, and what a reader must know of it."""
    metrics = sets.task.metrics
    unit = metrics[0] if len(metrics) == 1 else f"mean of {' and '.join(metrics)}"
    learned = f"{how.epochs} epochs of {len(sets.train):,} examples" + (f", {how.seeds} runs a seed" * (how.seeds > 1))
    alone = "" if of_items(sets.task) else " It is no mean over examples, so that its intervals are over seeds alone."
    return Names(
        Metric(
            called,
            unit,
            "more",
            f"{len(sets.dev):,} dev examples after {learned}; of its evaluations on them a run's best counts.{alone}",
        ),
        Metric(f"{called}, from scratch", unit, "more", "The same model, which learns the same from random weights."),
        Metric(f"{called}, gained", unit, "more", "What pretraining adds: the first less the second, paired by seed."),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
    """A task as all trials are asked it; what is compiled for a model serves all of its seeds."""

    sets: Sets
    data: str
    how: Finetuning
    names: Names
    compiled: dict[object, dict[float, Programs]] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def digest(self) -> str:
        """Tells its runs from those of another task, or of another way to learn it."""
        how = self.how
        told = self.sets.digest, how.epochs, how.adapt, how.layers, how.visibility, how.language_weight
        return hashlib.sha256(repr((*told, tuple(map(tuple, how.fields)))).encode()).hexdigest()[:8]

    def recipe(self, pretrained: Pretrained) -> Recipe:
        """How this checkpoint learns the task."""
        how = self.how
        return Recipe(
            pretrained,
            self.sets,
            self.data,
            how.epochs,
            how.adapt,
            how.visibility,
            how.fields,
            layers=how.layers,
            language_weight=how.language_weight,
            keep=True,
        )

    def steps(self, source: Experiment, tokenizer: AnyTokenizer) -> int:
        """Steps of all the runs that a trial of an experiment is asked by.

        Raises InputError where its model, which need not be trained, cannot learn the task.
        """
        recipe = self.recipe(Pretrained(Path(), 0, source, tokenizer))
        rates = self.how.rates_for(source.model.model_dim)

        def built() -> TaskRun:
            experiment = experiment_of(recipe, "scratch", rates[0], 0)
            sets = (encoded(recipe, name, experiment.data) for name in ("train", "dev"))
            return build_task_run(recipe, experiment, *sets)

        return unflagged(built).experiment.optimizer.total_steps * len(rates) * self.how.seeds * len(ARMS)

    def measure(self, entry: Entry, watch: Watch) -> Measured:
        """Fine-tunes what is not finished; nothing is found of runs that diverged at their best rate."""
        workdir, step = entry.checkpoint.workdir, entry.checkpoint.step
        recipe = self.recipe(open_pretrained(workdir, str(step)))
        folder = Path(FOLDER) / f"{slug(self.names.tuned.name)}-{self.digest}"
        homes: dict[Arm, Path] = {"pretrained": workdir / folder, "scratch": of_arm(workdir) / folder}
        tuned, scratch = (
            self.items(
                Trials(recipe, homes[arm], self.programs(recipe), "workdir"),
                arm,
                functools.partial(Within, watch, number),
            )
            for number, arm in enumerate(ARMS)
        )
        found = {}
        if tuned is not None:
            found[self.names.tuned.name] = tuned
        if scratch is not None:
            found[self.names.scratch.name] = scratch
        if tuned is not None and scratch is not None:
            found[self.names.gained.name] = Items(tuned.total - scratch.total, tuned.weight)
        return found

    def items(self, trials: Trials, arm: Arm, line: Callable[[int, str], Progress]) -> Items | None:
        """What the examples got on average over the seeds, or the score where it is no mean; None if one diverged."""
        source, count = trials.recipe.pretrained.experiment, self.how.seeds
        seeds = range(source.seed * count, (source.seed + 1) * count)
        rates = self.how.rates_for(source.model.model_dim)
        (best,) = summarize(trials.run([Trial(arm, rate, seed) for rate in rates for seed in seeds], line))
        if best.diverged:
            return None
        if not of_items(self.sets.task):
            return Items(np.array([best.mean("score")]), np.ones(1))
        each = [item_scores(self.sets, trials.output / outcome.trial.folder) for outcome in best.outcomes]
        return Items(np.mean([total for total, _ in each], axis=0), each[0][1])

    def programs(self, recipe: Recipe) -> dict[float, Programs]:
        """What is compiled for models like this one, by learning rate."""
        source = recipe.pretrained.experiment
        alike = source.model, source.precision, source.remat, recipe.pretrained.tokenizer.digest
        return self.compiled.setdefault(alike, {})


class Within(Progress):
    """Runs of one arm as a part of a measurement, whose watch is told of their steps; the arms take equally many."""

    def __init__(self, watch: Watch, number: int, total: int, label: str):
        super().__init__(total, label)
        self._watch, self._before = watch, number * total

    def update(self, step: int, **values: SupportsFloat) -> None:
        self._watch(self._before + step, len(ARMS) * self._total)

    def note(self, text: str) -> None:
        """Says nothing: there are as many runs as trials, and each has its records."""

    def warn(self, text: str) -> None:
        print(text, file=sys.stderr)


def unflagged(ask: Callable[[], Found]) -> Found:
    """What `ask` gives; its InputError is that of a suite, which has arguments where a command has flags."""
    try:
        return ask()
    except InputError as error:
        raise InputError(f"fine_tuned: {re.sub(r'--(?:config[.])?(?=[a-z])', '', str(error))}") from None
