"""How a pretrained model is adapted to a task: what of its trunk is learned with the head, and what is put into it."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from flax import nnx

from data.task import Adapt, TaskData
from models.adapters import Adapter, LowRank
from models.parameters import stacked
from training.learned import Learned, Since

START, NEVER = (0,), ()

ADDED = re.compile(r"(task|features)/.+|layers/.+/update/.+|layers/.+_adapter/.+")
"""Names of parameters that no pretrained model has: of the head, and of what is put into the trunk. All are learned."""


def is_added(name: str) -> bool:
    """Whether the parameter of a name is none of a pretrained model."""
    return ADDED.fullmatch(name) is not None


def learned_by(adapt: Adapt, num_layers: int, epoch: int, total: int) -> Learned | None:
    """Since which step each parameter is learned, in a run of `total` steps, `epoch` an epoch; None: all since 0."""
    learns = ADAPTATIONS[adapt].learns
    if learns is None:
        return None

    def learned(name: str) -> Since:
        epochs = START if is_added(name) else learns(name, num_layers)
        since = tuple(epoch * first for first in epochs)
        return since if any(first < total for first in since) else NEVER

    return learned


def nothing(name: str, num_layers: int) -> Since:
    """Of the trunk, no parameter is learned."""
    del name, num_layers
    return NEVER


def biases(name: str, num_layers: int) -> Since:
    """Every bias (Ben Zaken et al. 2022)."""
    del num_layers
    return START if name.endswith("bias") else NEVER


def norms(name: str, num_layers: int) -> Since:
    """The scales and shifts of all norms, that of the embeddings too, as in the release."""
    del num_layers
    return START if name.rpartition("/")[0].endswith("norm") else NEVER


def downwards(name: str, num_layers: int) -> Since:
    """One layer more an epoch from the top down, and after them what is outside of layers (Howard and Ruder 2018)."""
    return tuple(reversed(range(num_layers))) if name.startswith("layers/") else (num_layers,)


def no_parts(model: Any, data: TaskData) -> None:
    """The trunk stays as it is."""
    del model, data


def updates(model: Any, data: TaskData) -> None:
    """Updates of low rank, of each layer's query and value projections (Hu et al. 2021, section 5.1)."""
    attention = model.layers.attention
    for projection in (attention.query, attention.value):
        num_layers, dim, *heads = projection.kernel.get_value().shape
        update = LowRank((dim,), tuple(heads), data.rank, data.alpha, precision=projection.precision)
        projection.update = nnx.data(stacked(update, num_layers))


def adapters(model: Any, data: TaskData) -> None:
    """Two adapters in each layer, one over its attention and one over its feed-forward block (Houlsby et al. 2019)."""
    block = model.layers
    adapter = Adapter(model.config, data.bottleneck, precision=block.mlp.up.precision)
    block.attention_adapter = nnx.data(stacked(adapter, model.config.num_layers))
    block.mlp_adapter = nnx.data(stacked(adapter, model.config.num_layers))


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """What `--adapt` names."""

    learns: Callable[[str, int], Since] | None = nothing  # since which epoch a parameter of the trunk is; None: all are
    put: Callable[[Any, TaskData], None] = no_parts  # puts parts into a model that has no values yet
    dropout: bool = True  # in the trunk; a frozen one without has the same features in every epoch
    rate: float = 10.0  # what a default learning rate is multiplied by: that of all parameters would be too slow


ADAPTATIONS: dict[Adapt, Adaptation] = {
    "full": Adaptation(None, rate=1.0),
    "frozen": Adaptation(dropout=False),
    "bias": Adaptation(biases),
    "lora": Adaptation(put=updates),
    "adapters": Adaptation(norms, put=adapters),
    "gradual": Adaptation(downwards, rate=1.0),
}
