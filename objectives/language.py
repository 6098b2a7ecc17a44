"""A language model that learns a task and goes on learning its language (Radford et al. 2018, section 3.2)."""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Key

from batch import Batch, InputError, Inputs, Output, Targets, Vocab
from objectives.base import Losses, Metrics, Scales, scale
from objectives.causal import CausalLm
from objectives.pointing import Extraction, MultipleChoice
from objectives.tasks import Classification, Regression, Tagging, reader

TaskObjective = Classification | Regression | Tagging | MultipleChoice | Extraction
NEXT = CausalLm()


@struct.dataclass(kw_only=True)
class Both(Targets):
    """What a task asks for, and the next tokens."""

    language: Targets


@dataclasses.dataclass(frozen=True)
class WithLanguage:
    """The loss of a task and, `weight` times, that of the next token: L3 = L2 + weight L1, equation 5 of the paper.

    Next tokens are those that `CausalLm` predicts, of every choice and every window: neither padding nor specials. The
    model must read from the left, and have the head over the vocabulary that it was pretrained with.
    """

    task: TaskObjective
    weight: float = 0.5

    query_stream = False
    reuse = None
    pair_weight = 0.0
    reads = ()

    def __post_init__(self):
        if not 0 < self.weight < math.inf:
            raise InputError(f"--language_weight={self.weight}: must be a number above 0, or 0 for no such loss.")
        if self.task.visibility != "left":
            raise InputError(
                f"--language_weight={self.weight}: with visibility {self.task.visibility} a token sees the next one, "
                "which this loss asks for; use --visibility=left, or leave the weight out."
            )

    def prepare(self, batch: Batch, vocab: Vocab, key: Key[Array, ""]) -> tuple[Inputs, Targets]:
        inputs, targets = self.task.prepare(batch, vocab, key)
        shown, language = NEXT.prepare(batch, vocab, key)
        both = Both(
            labels=targets.labels,
            weights=targets.weights,
            task=targets.task,
            task_weights=targets.task_weights,
            language=language,
        )
        predict = jnp.concatenate([inputs.predict, shown.predict], axis=1)
        return dataclasses.replace(inputs, predict=predict), both

    def scales(self, targets: Targets) -> Scales:
        assert isinstance(targets, Both), "made by prepare"
        return {**self.task.scales(targets), "language_loss": scale(self.weight, targets.language.weights)}

    def loss(self, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
        assert isinstance(targets, Both), "made by prepare"
        own, text = apart(output, targets)
        losses, metrics = self.task.loss(model, own, targets)
        language, _ = NEXT.loss(model, text, targets.language)
        return {**losses, "language_loss": language["loss"]}, metrics

    def read(self, model: Any, output: Output, targets: Targets) -> Any:
        """What the task reads."""
        assert isinstance(targets, Both), "made by prepare"
        return reader(self.task)(model, apart(output, targets)[0], targets)


def apart(output: Output, targets: Both) -> tuple[Output, Output]:
    """The output where the task is read, and where the next token is."""
    assert output.scores is not None, "checked when the run was built"
    slots = targets.language.labels.shape[1]
    own = dataclasses.replace(output, hidden=output.hidden[:, :-slots], scores=output.scores[:, :-slots])
    return own, dataclasses.replace(output, hidden=output.hidden[:, -slots:], scores=None)
