"""An experiment: one frozen, typed value from which everything else follows."""

import dataclasses
import json
import math
import typing
from typing import Any, Generic, Literal, TypeVar

from batch import InputError
from data.config import DataConfig
from data.task import TaskData
from models import MODELS, ModelConfig
from models.trunk import Remat
from objectives import LABELED, OBJECTIVES, Composite, Objective
from training.overrides import fits

Data = TypeVar("Data", DataConfig, TaskData)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with decoupled decay (Loshchilov and Hutter 2019), warm-up and a schedule over `total_steps`."""

    total_steps: int = 1000
    peak_rate: float = 1e-3
    warmup_steps: int = 100
    warmup: Literal["from_one", "from_zero"] = "from_one"  # (t + 1) / W, or t / W as in the releases: step 0 is wasted
    schedule: Literal["linear", "cosine", "constant", "wsd"] = "linear"
    decay_from: Literal["warmup", "start"] = "warmup"  # "start": steps of warm-up count as decay, as in BERT's release
    end_rate: float = 0.0  # as a share of peak_rate
    decay_steps: int = 0  # wsd: the length of the final decay
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    epsilon_hat: bool = False  # epsilon is added before the bias correction, as in TensorFlow's Adam
    bias_correction: bool = True  # False: as in the releases of BERT and XLNet
    weight_decay: float = 0.01  # not on biases and norm scales
    layer_decay: float = 1.0  # each layer learns this much more slowly than the one above it
    layer_decay_of: Literal["rate", "gradient"] = "rate"  # as in XLNet's paper, or as in its release
    clip: float = 1.0  # global gradient norm; 0: no clipping
    accumulate: int = 1  # microbatches a step; must divide the batch

    def __post_init__(self):
        for field, least in (("total_steps", 1), ("warmup_steps", 0), ("decay_steps", 0), ("accumulate", 1)):
            value = getattr(self, field)
            if value < least:
                raise InputError(f"optimizer.{field}={value}: must be at least {least}.")
        ranges = dict.fromkeys(("peak_rate", "weight_decay", "clip"), (0, math.inf))
        ranges |= dict.fromkeys(("end_rate", "beta1", "beta2", "epsilon", "layer_decay"), (0, 1))
        for field, (least, most) in ranges.items():
            if not least <= getattr(self, field) <= most:
                raise InputError(f"optimizer.{field}={getattr(self, field)}: must be between {least} and {most}.")
        if self.warmup_steps > self.total_steps:
            raise InputError(
                f"optimizer.warmup_steps={self.warmup_steps}: exceeds optimizer.total_steps={self.total_steps}; "
                "warm up for fewer steps or train for more."
            )
        if self.schedule == "wsd" and not 0 < self.decay_steps <= self.total_steps - self.warmup_steps:
            raise InputError(
                f"optimizer.decay_steps={self.decay_steps}: the wsd schedule needs a final decay of 1 to "
                f"{self.total_steps - self.warmup_steps} steps."
            )


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Cadence. Nothing here changes what a run learns, as far as it comes: all may change when a run is resumed."""

    log_every: int = 20
    eval_every: int = 200  # steps between held-out evaluations; the last step is always evaluated
    eval_batches: int = 0  # held-out batches an evaluation reads; 0: all of them
    save_every: int = 200
    patience: int = 0  # evaluations in turn without a better one, after which the run ends; 0: it goes to its end
    keep: int = 1  # newest checkpoints kept, beside the best
    on_nonfinite: Literal["stop", "skip"] = "stop"  # the run, or leave out the step whose gradient is not finite

    def __post_init__(self):
        counts = {"log_every": 1, "eval_every": 1, "eval_batches": 0, "save_every": 1, "patience": 0, "keep": 1}
        for field, least in counts.items():
            value = getattr(self, field)
            if value < least:
                raise InputError(f"training.{field}={value}: must be at least {least}.")


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis. Nothing here changes what a run learns, so all of it may change when one is resumed."""

    data: int = 0  # each holds other rows of the batch; 0: all devices that fsdp and tensor leave
    fsdp: int = 1  # each holds other rows, and a part of every parameter and of its moments
    tensor: int = 1  # each holds some of the heads, of the feed-forward width and of the vocabulary

    def __post_init__(self):
        for field, least in (("data", 0), ("fsdp", 1), ("tensor", 1)):
            if getattr(self, field) < least:
                raise InputError(f"mesh.{field}={getattr(self, field)}: must be at least {least}.")


@dataclasses.dataclass(frozen=True)
class Experiment(Generic[Data]):
    """What is trained, on what and how: text in pretraining, the examples of a task in fine-tuning."""

    model: ModelConfig
    objective: Objective
    data: Data = DataConfig()  # pyright: ignore[reportAssignmentType]
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()
    mesh: MeshConfig = MeshConfig()
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"  # operands of matrix products; all else is float32
    remat: Remat = "cheap"  # what the backward pass computes again instead of keeping it: none, cheap, all
    init_from: str | None = None  # a workdir whose parameters this run starts from

    def __post_init__(self):
        if self.data.batch_size % self.optimizer.accumulate:
            raise InputError(
                f"optimizer.accumulate={self.optimizer.accumulate}: must divide data.batch_size={self.data.batch_size}."
            )
        if isinstance(self.objective, Composite):
            self.objective.check(self.data.batch_size, self.optimizer.total_steps)


TYPED: dict[str, dict[str, type]] = {
    "model": {config.__name__: config for config in MODELS},
    "objective": {objective.__name__: objective for objective in (*OBJECTIVES.values(), *LABELED)},
    "data": {TaskData.__name__: TaskData},  # text says none: there was nothing else once
}
"""What may stand in a group that says which class it is of."""


def to_dict(experiment: Experiment) -> dict[str, Any]:
    """The experiment as plain JSON values; models and objectives, inner ones too, carry their name under "type"."""
    return _plain(experiment)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if not dataclasses.is_dataclass(value):
        return value
    fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    typed = any(type(value) in classes.values() for classes in TYPED.values())
    return {"type": type(value).__name__, **fields} if typed else fields


def from_dict(values: dict[str, Any]) -> Experiment:
    """The inverse of `to_dict`. Raises InputError on an unknown type or field, and on a value of another type."""
    groups = {"data": DataConfig, "optimizer": OptimizerConfig, "training": TrainingConfig, "mesh": MeshConfig}
    told = {k: None if k in TYPED and "type" in v else groups[k] for k, v in values.items() if k in groups}
    fields = {k: _group(k, v, told.get(k)) if k in (*groups, *TYPED) else v for k, v in values.items()}
    return _made(Experiment, fields, "")


def _group(group: str, values: dict[str, Any], cls: type | None = None) -> Any:
    """A group of fields, of the class that its "type" names where none is given."""
    fields = dict(values)
    name = fields.pop("type", None)
    cls = cls or TYPED.get(group, {}).get(str(name))
    if cls is None:
        known = ", ".join(sorted(TYPED.get(group, {}))) or "none"
        raise InputError(f"{group}.type={name}: unknown; it is one of {known}.")
    return _made(cls, {field: _field(group, value) for field, value in fields.items()}, f"{group}.")


def _field(group: str, value: Any) -> Any:
    if isinstance(value, list):  # JSON has no tuples
        return tuple(_field(group, member) for member in value)
    return _group(group, value) if isinstance(value, dict) else value


def _made(cls: type, fields: dict[str, Any], prefix: str) -> Any:
    hints = typing.get_type_hints(cls)
    names = {field.name for field in dataclasses.fields(cls)}
    for name, value in fields.items():
        if name not in names:
            raise InputError(f"{prefix}{name}: unknown field; the run was written by another version of Orderly.")
        if not fits(value, hints[name]):
            raise InputError(f"{prefix}{name}={value!r}: is not of its type; restore the file of the run.")
    return cls(**fields)


def to_json(experiment: Experiment) -> str:
    return json.dumps(to_dict(experiment), indent=2)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted name."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found
