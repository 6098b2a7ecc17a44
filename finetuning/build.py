"""From a pretrained run and a task to runs of fine-tuning, refusing what cannot work before any time is spent on it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from batch import InputError
from data.task import Adapt, TaskData
from data.tokenizer import AnyTokenizer
from finetuning.adaptation import ADAPTATIONS, learned_by
from finetuning.encoding import Encoded, encode_labeled, encode_tagged
from finetuning.run import Source, TaskRun
from finetuning.start import check_reads, start_digest, starting_params, task_model, without_memory
from finetuning.stream import HeldOutExamples, TaskStream
from finetuning.task import Example, Kind, Sets
from finetuning.templates import GPT, Template, template_of
from objectives import TASK_OBJECTIVES, Objective
from objectives.tasks import Visibility
from training.checkpoint import Checkpoints
from training.config import Experiment, OptimizerConfig, TrainingConfig
from training.learned import only_learned
from training.optimizer import make_optimizer
from training.overrides import override
from training.workdir import stored_experiment, stored_tokenizer

Arm = Literal["pretrained", "scratch"]
Fields = Sequence[tuple[str, str]]

DECIDED = (
    "seed",
    "optimizer.peak_rate",
    "init_from",
    *("data.task", "data.labels", "data.start", "data.folder", "data.adapt", "data.layers"),
)
"""Fields that flags of the command, or the data, say."""


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
    layers: str = "last"  # that a frozen trunk is read at

    @property
    def template(self) -> Template:
        return template_of(self.pretrained.experiment.model)


def open_pretrained(workdir: Path, which: str) -> Pretrained:
    """The checkpoint `which` ("latest", "best", a step) of a pretrained run. Raises InputError where there is none."""
    experiment, tokenizer = stored_experiment(workdir), stored_tokenizer(workdir)
    assert tokenizer is not None, "there is an experiment"
    return Pretrained(workdir, Checkpoints(workdir).resolve(which), experiment, tokenizer)


def experiment_of(recipe: Recipe, arm: Arm, rate: float, seed: int) -> Experiment[TaskData]:
    """The experiment of one arm, learning rate and seed.

    Adam's bias is corrected and the rate warms up over a tenth of the steps (Mosbach et al. 2021), then falls to 0
    along a line; after each epoch the dev set is measured. Raises InputError for fields that cannot be set.
    """
    for name, text in recipe.fields:
        if name in DECIDED:
            raise InputError(f"--config.{name}={text}: is said by the flags of this command, or by the data.")
    pretrained, sets = recipe.pretrained, recipe.sets
    source = pretrained.experiment
    start = "scratch" if arm == "scratch" else start_digest(pretrained.workdir, pretrained.step)
    data = TaskData(sets.task.name, recipe.folder, sets.labels, start, adapt=recipe.adapt, layers=recipe.layers)
    data = override(data, inner(recipe.fields, "data."), "data.")
    epoch = -(-len(sets.train) // data.batch_size)
    total = epoch * recipe.epochs
    experiment = Experiment(
        model=without_memory(source.model),
        objective=objective_of(sets.task.kind, recipe.visibility or ("left" if recipe.template is GPT else "both")),
        data=data,
        optimizer=OptimizerConfig(total_steps=total, warmup_steps=total // 10, peak_rate=rate),
        training=TrainingConfig(eval_every=epoch),
        seed=seed,
        precision=source.precision,
        remat=source.remat,
        init_from=str(pretrained.workdir) if arm == "pretrained" else None,
    )
    return override(experiment, [field for field in recipe.fields if not field[0].startswith("data.")])


def inner(fields: Fields, prefix: str) -> list[tuple[str, str]]:
    """The fields of one group, named as it names them."""
    return [(name.removeprefix(prefix), text) for name, text in fields if name.startswith(prefix)]


def objective_of(kind: Kind, visibility: Visibility) -> Objective:
    """The objective of a kind of task."""
    return TASK_OBJECTIVES[kind](visibility)


def encode(recipe: Recipe, examples: Sequence[Example], data: TaskData) -> Encoded:
    """The examples as rows of the model's family."""
    how = encode_tagged if recipe.sets.task.kind == "tagging" else encode_labeled
    return how(examples, data.labels, recipe.pretrained.tokenizer, recipe.template, data.length)  # type: ignore[arg-type]


def build_task_run(recipe: Recipe, experiment: Experiment[TaskData], train: Encoded, dev: Encoded) -> TaskRun:
    """The run of an experiment over encoded sets. Raises InputError where the model cannot read them."""
    data, template, tokenizer = experiment.data, recipe.template, recipe.pretrained.tokenizer
    adaptation = ADAPTATIONS[data.adapt]
    check_reads(experiment.model, data, recipe.sets.texts)
    model = task_model(
        experiment.model,
        tokenizer.vocab.size,
        data.outputs,
        pooled=template.pooled and recipe.sets.task.kind != "tagging",
        precision=experiment.precision,
        remat=experiment.remat,
        frozen=not adaptation.dropout,
        layers=data.layers,
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
