"""A run of fine-tuning, which the one loop trains."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from batch import Batch, Mean, Vocab
from data.batches import Stream
from data.task import TaskData
from data.tokenizer import AnyTokenizer
from finetuning.answers import answers_of, measured_answers
from finetuning.scoring import measured, predictions_of, references_of, truth_of
from finetuning.stream import HeldOutExamples
from finetuning.task import Sets
from models import Model
from models.parameters import abstract_params
from objectives import Objective
from objectives.tasks import reader
from training.config import Experiment
from training.keys import held_out_key
from training.learned import Learned, num_learned
from training.sharding import gather_params, hold_rows, layers_hold_rows, place_batch
from training.state import make_start
from training.step import make_train_step
from training.trainable import Programs

Predict = Callable[[Any, Batch], tuple[dict[str, Mean], Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """What the folder of a run must know of the examples."""

    tokenizer: AnyTokenizer
    corpus_digest: str


@dataclasses.dataclass(frozen=True, eq=False)
class TaskRun:
    """An experiment on a task with everything it needs, none of which has state; `training.trainable.Trainable`."""

    experiment: Experiment[TaskData]
    prepared: Source
    sets: Sets
    model: Model
    optimizer: optax.GradientTransformation
    train: Stream
    dev: HeldOutExamples
    learns: Learned | None
    mesh: Mesh | None = None

    least = "error"

    @property
    def vocab(self) -> Vocab:
        return self.prepared.tokenizer.vocab

    @property
    def shapes(self) -> dict[str, Any]:
        """Shapes and types of all parameters."""
        return abstract_params(self.model)

    @property
    def learned(self) -> int:
        """How many numbers are learned."""
        return num_learned(self.learns, self.shapes, self.experiment.optimizer.total_steps)

    def programs(self) -> Programs:
        """The start, the step and the predictions; each call compiles anew."""
        experiment = self.experiment
        step = make_train_step(
            self.model,
            experiment.objective,
            self.vocab,
            self.optimizer,
            accumulate=experiment.optimizer.accumulate,
            on_nonfinite=experiment.training.on_nonfinite,
            mesh=self.mesh,
            learned=self.learns,
        )
        start = make_start(self.model, self.optimizer, experiment.data.batch_size, self.mesh)
        return Programs(start, step, make_predict(self.model, experiment.objective, self.vocab, self.mesh))

    def measure(self, programs: Programs, params: Any) -> dict[str, float]:
        """On the dev set: the loss, the task's metrics, their mean as `score`, and 1 less it as `error`."""
        means, scores = predict(programs.evaluate, params, self.dev, self.mesh)
        data, labels = self.experiment.data, self.experiment.data.labels
        if self.sets.task.kind == "extraction":
            found, references = answers_of(scores, self.dev.examples, data), references_of(self.sets.dev)
            return {**means, **measured_answers(self.sets.task, found, references, nullable=data.nullable)}
        predicted = predictions_of(scores, self.dev.examples, labels)
        return {**means, **measured(self.sets.task, predicted, truth_of(self.sets.dev, labels))}

    def note(self, values: dict[str, float]) -> str:
        """The metrics on the dev set."""
        return ", ".join(f"dev {name} {values[name]:.3f}" for name in ("loss", *self.sets.task.metrics))


def make_predict(model: Model, objective: Objective, vocab: Vocab, mesh: Mesh | None = None) -> Predict:
    """The jitted scores of a batch, without dropout, and the loss where labels are known.

    An objective whose predictions are not made of the model's scores alone says in `read` what they are made of.
    """
    graphdef, read = nnx.graphdef(model), reader(objective)

    def run(params: Any, batch: Batch) -> tuple[dict[str, Mean], Any]:
        inputs, targets = hold_rows(objective.prepare(batch, vocab, held_out_key()), mesh)
        bound = nnx.merge(graphdef, gather_params(params, mesh))
        with layers_hold_rows(mesh):
            output = bound(inputs, None)
        losses, metrics = objective.loss(bound, output, targets)
        return {**losses, **metrics}, read(bound, output, targets)

    return jax.jit(run)


def predict(
    program: Predict, params: Any, stream: HeldOutExamples, mesh: Mesh | None = None
) -> tuple[dict[str, float], list[Any]]:
    """Means over a set, and the scores of each row [P C], in the order of the set, padding left out.

    Where places are chosen they are what the objective reads of the row.
    """
    sums: dict[str, Mean] = {}
    scores: list[Any] = [None] * len(stream.examples)
    for step in range(stream.steps_per_epoch):
        batch = stream.batch(step)
        means, found = jax.device_get(program(params, place_batch(batch, mesh)))
        means = jax.tree.map(np.float64, means)  # many batches: their sum outgrows float32
        sums = {name: sums[name] + mean if name in sums else mean for name, mean in means.items()}
        for row, example in enumerate(stream.chosen(step)):
            own = jax.tree.map(lambda array, row=row: array[row], found)
            scores[example] = own if stream.examples.tags is None else own[np.flatnonzero(batch.document[row])]
    return {name: mean.value() for name, mean in sums.items()}, scores
