"""From an experiment to what runs it, refusing what cannot work before any time is spent on it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from batch import Batch, InputError, Vocab
from data.batches import Numbered, Stream, open_stream
from data.prepare import Prepared, prepare
from data.tokenizer import AnyTokenizer
from models import Model, build_model
from objectives import LABELED, plains
from training.config import Experiment
from training.heldout import EvalStep, held_out, make_eval_step, unigram_surprise
from training.keys import named_key
from training.optimizer import make_optimizer
from training.sharding import check_vocabulary
from training.state import make_start
from training.step import TrainStep, make_train_step
from training.trainable import Programs


@dataclasses.dataclass(frozen=True)
class Run:
    """An experiment with everything it needs, none of which has state."""

    experiment: Experiment
    prepared: Prepared
    model: Model
    optimizer: optax.GradientTransformation
    train: Stream
    validation: Stream
    mesh: Mesh | None = None  # of the devices that it is trained on; None: one

    least = "loss"

    @property
    def vocab(self) -> Vocab:
        return self.prepared.vocab

    def programs(self) -> Programs:
        """The start, the step and the evaluation; each call compiles anew."""
        start = make_start(self.model, self.optimizer, self.experiment.data.batch_size, self.mesh)
        return Programs(start, self.train_step(), self.eval_step())

    def train_step(self) -> TrainStep:
        """The jitted step; each call compiles anew."""
        objective, accumulate = self.experiment.objective, self.experiment.optimizer.accumulate
        on_nonfinite = self.experiment.training.on_nonfinite
        return make_train_step(
            self.model,
            objective,
            self.vocab,
            self.optimizer,
            accumulate=accumulate,
            on_nonfinite=on_nonfinite,
            mesh=self.mesh,
        )

    def eval_step(self) -> EvalStep:
        """The jitted evaluation of a batch, beside the unigrams of the training text; each call compiles anew."""
        surprise = unigram_surprise(self.prepared.train.counts)
        return make_eval_step(self.model, self.experiment.objective, self.vocab, surprise, self.mesh)

    def measure(self, programs: Programs, params: Any) -> dict[str, float]:
        """The loss on the validation split, in nats per target, and what is watched beside it."""
        rows, batches = self.experiment.data.batch_size, self.experiment.training.eval_batches
        evaluate: EvalStep = programs.evaluate
        return held_out(evaluate, self.model, params, self.validation, rows, max_batches=batches, mesh=self.mesh)

    def note(self, values: dict[str, float]) -> str:
        """The held-out loss beside the unigrams'."""
        return f"held-out loss {values['loss']:.3f}, unigram baseline {values['unigram_loss']:.3f}"

    def held_out(self, split: str) -> Stream:
        """The held-out stream of "validation" or "test"."""
        return self.validation if split == "validation" else open_split(self.experiment, self.prepared, split)


def build_run(
    experiment: Experiment,
    report: Callable[[str], None],
    tokenizer: AnyTokenizer | None = None,
    mesh: Mesh | None = None,
) -> Run:
    """The run of an experiment, on one device or a mesh; `tokenizer` is one to use instead of training one.

    Raises InputError on data that cannot be read and on parts that do not fit each other.
    """
    check_fit(experiment)
    prepared = prepare(experiment.data, report, tokenizer)
    vocab = prepared.vocab
    if mesh:
        check_vocabulary(vocab.size, mesh)
    model = build_model(experiment.model, vocab.size, precision=experiment.precision, remat=experiment.remat)
    train, validation = (open_split(experiment, prepared, split) for split in ("train", "validation"))
    check_objective(experiment, vocab, train.batch(0))
    return Run(experiment, prepared, model, make_optimizer(experiment.optimizer), train, validation, mesh)


def open_split(experiment: Experiment, prepared: Prepared, split: str) -> Stream:
    """The batches of one split; the window advances by what the objective lets the memory keep."""
    tokens, held_out = prepared.splits[split], split != "train"
    stride, folder = experiment.objective.reuse, Path(experiment.data.cache).expanduser()
    stream = open_stream(
        experiment.data,
        tokens,
        prepared.vocab,
        seed=experiment.seed,
        stride=stride,
        held_out=held_out,
        folder=folder / f"pairs-{prepared.corpus_digest[:16]}-{prepared.tokenizer_digest[:16]}-{split}",
    )
    return stream if held_out else Numbered(stream)


def check_fit(experiment: Experiment) -> None:
    """Raises InputError where model, objective and data do not fit each other."""
    model, objective, data = experiment.model, experiment.objective, experiment.data
    if not data.validation:
        raise InputError(
            "data.validation=0.0: a run measures its loss on held-out text; set a share above 0, such as 0.05."
        )
    names = f"objective={type(objective).__name__} with model={type(model).__name__}"
    if type(objective) in LABELED:
        raise InputError(f"{names}: learns from the labels of a task, and text has none; use finetune.py.")
    if objective.query_stream and not model.two_streams:
        raise InputError(
            f"{names}: the model has no query stream to predict a token without seeing it; use XlnetConfig."
        )
    if objective.pair_weight and not model.pair_head:
        raise InputError(
            f"objective.pair_weight={objective.pair_weight} with model={type(model).__name__}: the model has no pair "
            "head; set model.pair_head=True where it has that field, or objective.pair_weight=0."
        )
    if objective.pair_weight and data.layout != "pairs":
        raise InputError(
            f"objective.pair_weight={objective.pair_weight}: data.layout={data.layout} has no sentence pairs; "
            "use data.layout=pairs."
        )
    check_positions(experiment)
    check_memory(experiment)


def check_positions(experiment: Experiment) -> None:
    """Raises InputError where a model meets a segment, a window or a direction that it cannot read."""
    model, data = experiment.model, experiment.data
    segments = {"bert": 2, "xlnet": 3}[data.pair_format] if data.layout == "pairs" else 1
    if model.num_segments and model.num_segments < segments:
        raise InputError(
            f"model.num_segments={model.num_segments}: pairs of data.pair_format={data.pair_format} have {segments} "
            f"segments; set model.num_segments={segments}, or 0 for a model without them."
        )
    longest = model.longest_window
    if longest is not None and data.length > longest:
        raise InputError(
            f"data.length={data.length}: exceeds model.max_length={longest}; raise it, or shorten the window."
        )
    if model.max_length is not None and data.directions == "both":
        raise InputError(
            f"data.directions=both: {type(model).__name__} counts positions from the left; reversed rows need "
            "XlnetConfig."
        )


def check_memory(experiment: Experiment) -> None:
    """Raises InputError where a memory would not hold what precedes a window."""
    model, objective, data = experiment.model, experiment.objective, experiment.data
    continues = data.layout == "streams" or (data.layout == "pairs" and data.pair_format == "xlnet")
    if model.memory_length and not continues:
        raise InputError(
            f"model.memory_length={model.memory_length}: rows of data.layout={data.layout} do not continue each other; "
            "use data.layout=streams, or model.memory_length=0."
        )
    if model.memory_length and any("left" in plain.reads for plain in plains(objective)):
        raise InputError(
            "objective.direction=backward: a memory holds what precedes a window, which a backward model must not "
            "see; use data.directions=both with direction=forward, or model.memory_length=0."
        )
    if objective.reuse is not None and not continues:
        raise InputError(
            f"objective.reuse={objective.reuse}: rows of data.layout={data.layout} do not continue each other; "
            "use data.layout=streams, or leave objective.reuse unset."
        )
    if data.layout == "pairs" and data.pair_format == "xlnet" and objective.reuse is None:
        raise InputError(
            "data.pair_format=xlnet: rows begin with text that the memory keeps; set objective.reuse, "
            "half of data.length being the usual choice."
        )


def check_objective(experiment: Experiment, vocab: Vocab, batch: Batch) -> None:
    """Raises the InputError that the objective has for these shapes and this vocabulary, without computing."""
    prepare_batch: Any = experiment.objective.prepare
    jax.eval_shape(lambda batch: prepare_batch(batch, vocab, named_key(0, "corruption")), batch)
