"""How a pretrained model is adapted to a task: what of its trunk is learned with the head, and what is put into it."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from flax import nnx

from data.task import Adapt, TaskData
from models.adapters import Adapter, LowRank
from models.parameters import stacked
from training.learned import Learned

ADDED = re.compile(r"task/.+|layers/.+/update/.+|layers/.+_adapter/.+")
"""The names of parameters that no pretrained model has: the head, and what is put into the trunk. All are learned."""


def is_added(name: str) -> bool:
    """Whether the parameter of a name is none of a pretrained model."""
    return ADDED.fullmatch(name) is not None


def learned_by(adapt: Adapt) -> Learned | None:
    """Which parameters are learned; None: all."""
    learns = ADAPTATIONS[adapt].learns
    return None if learns is None else lambda name: is_added(name) or learns(name)


def nothing(name: str) -> bool:
    """Of the trunk, no parameter is learned."""
    del name
    return False


def biases(name: str) -> bool:
    """Every bias (Ben Zaken et al. 2022)."""
    return name.endswith("bias")


def norms(name: str) -> bool:
    """The scales and shifts of all norms, that of the embeddings too, as in the release."""
    return name.rpartition("/")[0].endswith("norm")


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

    learns: Callable[[str], bool] | None = nothing  # whether a parameter of the trunk is learned; None: all are
    put: Callable[[Any, TaskData], None] = no_parts  # puts parts into a model that has no values yet
    dropout: bool = True  # in the trunk; a frozen one without has the same features in every epoch
    rate: float = 10.0  # what a default learning rate is multiplied by: that of all parameters would be too slow


ADAPTATIONS: dict[Adapt, Adaptation] = {
    "full": Adaptation(None, rate=1.0),
    "frozen": Adaptation(dropout=False),
    "bias": Adaptation(biases),
    "lora": Adaptation(put=updates),
    "adapters": Adaptation(norms, put=adapters),
}
