"""From a pretrained run and a task to runs of fine-tuning, refusing what cannot work before any time is spent on it."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from batch import InputError
from data.task import Adapt, TaskData
from data.tokenizer import AnyTokenizer
from finetuning.adaptation import ADAPTATIONS, learned_by
from finetuning.choosing import encode_choices, encode_questions
from finetuning.encoding import Encoded, encode_labeled, encode_tagged
from finetuning.examples import Question
from finetuning.run import Source, TaskRun
from finetuning.start import (
    Answers,
    check_language,
    check_reads,
    start_digest,
    starting_params,
    task_model,
    without_memory,
)
from finetuning.stream import HeldOutExamples, TaskStream
from finetuning.task import Sets
from finetuning.templates import GPT, Template, template_of
from objectives import TASK_OBJECTIVES, Extraction, Objective, WithLanguage
from objectives.tasks import Visibility
from training.checkpoint import Checkpoints
from training.config import Experiment, OptimizerConfig, TrainingConfig
from training.learned import only_learned
from training.optimizer import make_optimizer
from training.overrides import override
from training.restored import stored_params
from training.workdir import stored_experiment, stored_tokenizer

Arm = Literal["pretrained", "scratch"]
Fields = Sequence[tuple[str, str]]

DECIDED = (
    *("seed", "optimizer.peak_rate", "init_from"),
    *("data.task", "data.labels", "data.start", "data.folder"),
    *("data.adapt", "data.layers", "data.choices", "data.nullable"),
)
"""Fields that flags of the command, or the data, say."""

ALONE = ("training.eval_batches", "mesh.data", "mesh.fsdp", "mesh.tensor")
"""Fields of pretraining alone."""

QUESTION_LENGTH = 384
"""Tokens of a question with a window of its context."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pretrained:
    """The checkpoint that a task starts from."""

    workdir: Path
    step: int
    experiment: Experiment
    tokenizer: AnyTokenizer


@dataclasses.dataclass(frozen=True, eq=False)
class Recipe:
    """What all arms of a task have in common."""

    pretrained: Pretrained
    sets: Sets
    folder: str = ""  # where the sets were read
    epochs: int = 3
    adapt: Adapt = "full"
    visibility: Visibility | None = None  # None: as in pretraining, "left" for GPT
    fields: Fields = ()  # that change the experiment, as --config.FIELD=VALUE does
    language_weight: float = 0.0  # of the next token's loss, beside the task's
    layers: str = "last"  # that a frozen trunk is read at
    keep: bool = False  # whether what a frozen trunk says there is computed once and kept on disk

    @property
    def template(self) -> Template:
        return template_of(self.pretrained.experiment.model)


def open_pretrained(workdir: Path, which: str) -> Pretrained:
    """The checkpoint `which` ("latest", "best", a step) of a pretrained run.

    Raises InputError where there is none, or its files are not as they were written.
    """
    experiment, tokenizer = stored_experiment(workdir), stored_tokenizer(workdir)
    assert tokenizer is not None, "there is an experiment"
    step = Checkpoints(workdir).resolve(which)
    stored_params(workdir, step)  # before anything is built for them
    return Pretrained(workdir, step, experiment, tokenizer)


def experiment_of(recipe: Recipe, arm: Arm, rate: float, seed: int) -> Experiment[TaskData]:
    """The experiment of one arm, learning rate and seed.

    Adam's bias is corrected and the rate warms up over a tenth of the steps (Mosbach et al. 2021), then falls to 0
    along a line; after each epoch the dev set is measured. Raises InputError for fields that cannot be set.
    """
    check_fields(recipe.fields)
    pretrained, sets = recipe.pretrained, recipe.sets
    source = pretrained.experiment
    data = TaskData(
        task=sets.task.name,
        folder=recipe.folder,
        labels=sets.labels,
        start="scratch" if arm == "scratch" else start_digest(pretrained.workdir, pretrained.step),
        adapt=recipe.adapt,
        layers=recipe.layers,
        length=min(TaskData.length, source.model.longest_window or TaskData.length),
    )
    data = dataclasses.replace(data, **of_kind(recipe))
    data = override(data, inner(recipe.fields, "data."), "data.")
    epoch = -(-num_rows(recipe, data) // data.batch_size)
    total = epoch * recipe.epochs
    experiment = Experiment(
        model=without_memory(source.model),
        objective=objective_of(recipe),
        data=data,
        optimizer=OptimizerConfig(total_steps=total, warmup_steps=total // 10, peak_rate=rate),
        training=TrainingConfig(eval_every=epoch),
        seed=seed,
        precision=source.precision,
        remat=source.remat,
        init_from=str(pretrained.workdir) if arm == "pretrained" else None,
    )
    return override(experiment, [field for field in recipe.fields if not field[0].startswith(("data.", "objective."))])


def of_kind(recipe: Recipe) -> dict[str, Any]:
    """Fields of the data that the kind of the task says.

    Rows of questions have 384 tokens, as in BERT's release, or as many as the model can read.
    """
    sets = recipe.sets
    if sets.task.kind == "choice":
        return {"choices": len(sets.labels)}
    if sets.task.kind == "extraction":
        longest = recipe.pretrained.experiment.model.longest_window
        nullable = any(isinstance(each, Question) and each.impossible for each in sets.train)
        return {"nullable": nullable, "length": min(QUESTION_LENGTH, longest or QUESTION_LENGTH)}
    return {}


def num_rows(recipe: Recipe, data: TaskData) -> int:
    """Rows of an epoch: one an example, and of questions one a window."""
    return len(encoded(recipe, "train", data)) if recipe.sets.task.kind == "extraction" else len(recipe.sets.train)


def check_fields(fields: Fields) -> None:
    """Raises InputError for a field that is not set this way, or that would change nothing."""
    for name, text in fields:
        if name in DECIDED:
            raise InputError(f"--config.{name}={text}: is said by the flags of this command, or by the data.")
        if name in ALONE:
            raise InputError(
                f"--config.{name}={text}: is for pretraining; a task is learned on one device, and measured on its "
                "whole dev set."
            )


def inner(fields: Fields, prefix: str) -> list[tuple[str, str]]:
    """The fields of one group, named as it names them."""
    return [(name.removeprefix(prefix), text) for name, text in fields if name.startswith(prefix)]


def objective_of(recipe: Recipe) -> Objective:
    """The objective of a recipe's kind of task, and beside it the next token's where that has a weight.

    Raises InputError where it cannot be learned.
    """
    visibility = recipe.visibility or ("left" if recipe.template is GPT else "both")
    fields, weight = inner(recipe.fields, "objective."), recipe.language_weight
    task = override(TASK_OBJECTIVES[recipe.sets.task.kind](visibility), fields, "objective.")
    if not weight:
        return task
    check_language(weight, recipe.pretrained.experiment.objective, frozen=recipe.adapt == "frozen")
    return WithLanguage(task, weight)


def encode(recipe: Recipe, examples: Sequence[Any], data: TaskData, *, training: bool = False) -> Encoded:
    """The examples as rows of the model's family; for training, of questions only what teaches something."""
    kind, tokenizer, template = recipe.sets.task.kind, recipe.pretrained.tokenizer, recipe.template
    if kind == "choice":
        return encode_choices(examples, tokenizer, template, data)
    if kind == "extraction":
        return encode_questions(examples, tokenizer, template, data, training=training)
    how: Any = encode_tagged if kind == "tagging" else encode_labeled
    return how(examples, data.labels, tokenizer, template, data.length)


def encoded(recipe: Recipe, name: str, data: TaskData) -> Encoded:
    """A set of a recipe as rows, made once for all arms."""
    return _encoded(recipe, name, dataclasses.replace(data, start="scratch"))


@functools.lru_cache(maxsize=8)
def _encoded(recipe: Recipe, name: str, data: TaskData) -> Encoded:
    return encode(recipe, recipe.sets.named[name], data, training=name == "train")


def build_task_run(recipe: Recipe, experiment: Experiment[TaskData], train: Encoded, dev: Encoded) -> TaskRun:
    """The run of an experiment over encoded sets. Raises InputError where the model cannot read them."""
    data, template, tokenizer = experiment.data, recipe.template, recipe.pretrained.tokenizer
    objective, kind, adaptation = experiment.objective, recipe.sets.task.kind, ADAPTATIONS[data.adapt]
    own = objective.task if isinstance(objective, WithLanguage) else objective
    check_reads(experiment.model, data, recipe.sets.texts)
    model = task_model(
        experiment.model,
        tokenizer.vocab.size,
        data.outputs,
        pooled=template.pooled and kind != "tagging",
        precision=experiment.precision,
        remat=experiment.remat,
        frozen=not adaptation.dropout,
        layers=data.layers,
        answers=Answers(own.ends, data.nullable) if isinstance(own, Extraction) else None,
        language=isinstance(objective, WithLanguage),
    )
    adaptation.put(model, data)
    pad = tokenizer.vocab.pad or 0
    stream = TaskStream(data, train, template.pad, pad, experiment.seed)
    total = experiment.optimizer.total_steps
    learns = learned_by(data.adapt, experiment.model.num_layers, stream.steps_per_epoch, total)
    return TaskRun(
        experiment=experiment,
        prepared=Source(tokenizer, recipe.sets.digest),
        sets=recipe.sets,
        model=model,
        optimizer=only_learned(make_optimizer(experiment.optimizer), learns),
        train=stream,
        dev=HeldOutExamples(data, dev, template.pad, pad),
        learns=learns,
    )


def start_of(recipe: Recipe, run: TaskRun) -> Any:
    """The parameters that a run starts from; None: those that its seed draws."""
    experiment, pretrained = run.experiment, recipe.pretrained
    if experiment.init_from is None:
        return None
    return starting_params(
        run.model, experiment.model, experiment.data, experiment.seed, pretrained.workdir, pretrained.step
    )
