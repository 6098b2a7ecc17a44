"""What the loop trains: pretraining's run and that of a task are the same to it."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import optax
from jax.sharding import Mesh

from data.batches import Stream
from models import Model
from training.config import Experiment
from training.state import Start
from training.step import TrainStep
from training.workdir import Claimed


@dataclasses.dataclass(frozen=True)
class Programs:
    """What is compiled of a run, at its first use; runs that differ in their seed alone can share it."""

    start: Start
    step: TrainStep
    evaluate: Callable[..., Any]  # what `Trainable.measure` calls


@runtime_checkable
class Trainable(Protocol):
    """What the loop trains: pretraining's `Run`, or that of a task."""

    @property
    def experiment(self) -> Experiment: ...

    @property
    def prepared(self) -> Claimed:
        """What the folder of the run is claimed with."""
        ...

    @property
    def model(self) -> Model: ...

    @property
    def optimizer(self) -> optax.GradientTransformation: ...

    @property
    def train(self) -> Stream: ...

    @property
    def mesh(self) -> Mesh | None: ...

    @property
    def least(self) -> str:
        """The name of the measured value of which the best checkpoint has the least."""
        ...

    def programs(self) -> Programs: ...

    def measure(self, programs: Programs, params: Any) -> dict[str, float]:
        """What is measured on held-out data, by name."""
        ...

    def note(self, values: dict[str, float]) -> str:
        """The measured values as a line for people says them."""
        ...
