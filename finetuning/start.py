"""The model of a task and the parameters it starts from: a checkpoint's trunk under a new head."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx, traverse_util
from jaxtyping import Array, Float, Key

from batch import InputError
from data.task import TaskData
from finetuning.adaptation import is_added
from finetuning.templates import template_of
from models import Model, ModelConfig, build_model
from models.features import Features, SideBySide, WeightedSum
from models.heads import TaskHead
from models.parameters import Initializer, TruncatedNormal, abstract_params, initialize
from models.pointer import PointerHead
from models.precision import Precision
from models.trunk import Remat
from objectives import Objective
from training.checkpoint import Checkpoints
from training.keys import named_key
from training.manifest import MANIFEST
from training.restored import stored_params

PRETRAINING = ("pair_head", "query")
"""Parts of a model that only pretraining reads. A task's has none of them: nothing is decayed that is never learned."""

VOCABULARY = ("head", "bias", "output")
"""Parts that score tokens: a task's model has them where the next token is learned beside the task, and only there."""

POOLERS = {"task/pooler/kernel": "pair_head/pooler/kernel", "task/pooler/bias": "pair_head/pooler/bias"}
"""A task's pooler, and what it starts from where the checkpoint has it, as in BERT's release."""


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a head that finds answers must know; as in the releases it has no dropout of its own."""

    ends: Literal["alone", "given_start"] = "alone"
    nullable: bool = False

    def head(
        self, config: ModelConfig, init: Initializer, precision: Precision, read: int | None
    ) -> TaskHead | PointerHead:
        """Two scores a token, or XLNet's head, over rows of the width `read`."""
        dim, how = config.model_dim, {"precision": precision, "read": read}
        if self.ends == "alone":
            return TaskHead(dim, 2, init, pooled=False, dropout_rate=0.0, **how)
        return PointerHead(dim, init, nullable=self.nullable, epsilon=config.epsilon, **how)


def task_model(
    config: ModelConfig,
    vocab_size: int,
    outputs: int,
    *,
    pooled: bool,
    precision: Precision,
    remat: Remat,
    frozen: bool = False,
    layers: str = "last",
    answers: Answers | None = None,
    language: bool = False,
) -> Model:
    """The trunk of a pretrained model and a head of `outputs` scores, under the parameter names of both.

    `answers` ask for a head that finds them, in place of that. A frozen trunk has no dropout: its features are the same
    in every epoch. `layers` says which layers the head reads. With `language` it still scores tokens.
    """
    model: Any = trunk_model(config, vocab_size, precision, remat, frozen=frozen, language=language)
    init = TruncatedNormal(config.initializer_range)
    features = features_of(layers, config)
    read = None if features is None else features.width
    if features is not None:
        model.features = nnx.data(features)
    if answers is not None:
        model.task = nnx.data(answers.head(config, init, precision, read))
        return model
    dim, rate = config.model_dim, config.dropout_rate
    head = TaskHead(dim, outputs, init, pooled=pooled, dropout_rate=rate, precision=precision, read=read)
    model.task = nnx.data(head)
    return model


def trunk_model(
    config: ModelConfig,
    vocab_size: int,
    precision: Precision,
    remat: Remat,
    *,
    frozen: bool,
    language: bool = False,
) -> Model:
    """A pretrained model without what only pretraining reads; a frozen one has no dropout.

    With `language` it still scores tokens.
    """
    trunk = dataclasses.replace(config, dropout_rate=0.0, attention_dropout_rate=0.0) if frozen else config
    model: Any = build_model(trunk, vocab_size, precision=precision, remat=remat)
    for name in PRETRAINING if language else (*PRETRAINING, *VOCABULARY):
        if getattr(model, name, None) is not None:
            setattr(model, name, nnx.static(None))
    return model


def features_of(layers: str, config: ModelConfig) -> Features | None:
    """What a head reads that `layers` names, as in `TaskData`; None: the last layer.

    Raises InputError where the model has fewer layers.
    """
    if layers == "last":
        return None
    top, dim = config.num_layers, config.model_dim
    if layers == "weighted":
        return WeightedSum(dim, top)
    number = int(layers.removeprefix("last-"))
    if number > top:
        raise InputError(f"--layers={layers}: the model has {top} layers; name one of them, or 0 for its embeddings.")
    return SideBySide(dim, (number,) if layers.isdigit() else tuple(range(top - number + 1, top + 1)))


def without_memory(config: ModelConfig) -> ModelConfig:
    """The same model for rows that do not continue each other."""
    if not config.memory_length:
        return config
    return dataclasses.replace(config, memory_length=0, same_length=False)


def num_task_parameters(dim: int, outputs: int, *, pooled: bool, side_by_side: int = 1) -> int:
    """Numbers in a head that reads k layers: (k D + 1) C; with a pooler (k D + 1) D + (D + 1) C."""
    read = side_by_side * dim + 1
    return read * dim + (dim + 1) * outputs if pooled else read * outputs


def start_digest(workdir: Path, step: int) -> str:
    """Tells a checkpoint from every other, by the digests of its files."""
    manifest = Checkpoints(workdir).folder / str(step) / MANIFEST
    return hashlib.sha256(manifest.read_bytes()).hexdigest()[:16]


def starting_params(model: Model, config: ModelConfig, data: TaskData, seed: int, workdir: Path, step: int) -> Any:
    """The checkpoint's parameters, with a head and added parts that the seed draws, and so the layers that begin anew.

    Raises InputError where the checkpoint lacks a parameter of the trunk or has it in another shape.
    """
    stored = flat(stored_params(workdir, step))
    params: dict[str, Any] = {}
    fresh: list[str] = []
    for name, own in flat(abstract_params(model)).items():
        found = stored.get(POOLERS.get(name, name))
        if found is not None and found.shape == own.shape:
            params[name] = jnp.asarray(found)
            if data.reinitialized and name.startswith("layers/"):
                fresh.append(name)
        elif is_added(name):
            fresh.append(name)
        else:
            there = "is missing" if found is None else f"is {list(found.shape)}, expected {list(own.shape)}"
            raise InputError(f"--workdir={workdir}: {name} {there}; name the workdir of a whole run.")
    for name, drawn in draw(model, seed, fresh).items():
        params[name] = with_new_top(params[name], drawn, data.reinitialized) if name in params else drawn
    return traverse_util.unflatten_dict(params, sep="/")


def draw(model: Model, seed: int, names: Sequence[str]) -> dict[str, Float[Array, "..."]]:
    """The initial values of some of a model's parameters, by name: those that a run from the seed begins with."""

    def chosen(key: Key[Array, ""]) -> dict[str, Float[Array, "..."]]:
        drawn = flat(initialize(model, key))
        return {name: drawn[name] for name in names}  # what is not asked for, XLA does not compute

    return jax.jit(chosen)(named_key(seed, "initialization"))


def with_new_top(stored: Float[Array, "N ..."], drawn: Float[Array, "N ..."], layers: int) -> Float[Array, "N ..."]:
    """Stacked layers, of which the uppermost `layers` are as they were drawn."""
    kept = len(stored) - layers
    return jnp.concatenate([stored[:kept], drawn[kept:]])


def flat(params: Any) -> dict[str, Any]:
    """Parameters by the name that joins their path."""
    return traverse_util.flatten_dict(params, sep="/")


def check_reads(config: ModelConfig, data: TaskData, texts: int) -> None:
    """Raises InputError where a model cannot read rows so long, or of so many segments."""
    if config.longest_window is not None and data.length > config.longest_window:
        raise InputError(
            f"data.length={data.length}: exceeds model.max_length={config.longest_window}; set --config.data.length="
            f"{config.longest_window} or less."
        )
    needed = template_of(config).segments(texts)
    if config.num_segments and config.num_segments < needed:
        raise InputError(
            f"model.num_segments={config.num_segments}: an example of {texts} texts has {needed} segments; join the "
            "texts, or use XLNet, whose segments are relative."
        )
    if data.reinitialized > config.num_layers:
        raise InputError(
            f"data.reinitialized={data.reinitialized}: the model has {config.num_layers} layers; set at most so many."
        )


def check_language(weight: float, pretrained: Objective, *, frozen: bool) -> None:
    """Raises InputError where a checkpoint did not learn to predict next tokens, or nothing could learn from them."""
    if "right" not in pretrained.reads:
        raise InputError(
            f"--language_weight={weight}: the checkpoint did not learn to predict the next token (its objective is "
            f"{type(pretrained).__name__}); name one of a causal model, such as GPT, or leave the weight out."
        )
    if frozen:
        raise InputError(
            f"--language_weight={weight}: with --adapt=frozen nothing is learned that this loss could teach; leave "
            "one of them out."
        )
