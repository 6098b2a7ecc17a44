"""The models. A new one is one file and one line in MODELS."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float, Key

from batch import Inputs, Memory, Output
from models.bert import Bert, BertConfig
from models.gpt import Gpt, GptConfig
from models.precision import Precision
from models.trunk import Remat
from models.xlnet import Xlnet, XlnetConfig

ModelConfig = BertConfig | GptConfig | XlnetConfig

MODELS = {BertConfig: Bert, GptConfig: Gpt, XlnetConfig: Xlnet}


@runtime_checkable
class Model(Protocol):
    """Parameters and what they compute: no other state, no randomness of its own, no objective."""

    def __call__(
        self,
        inputs: Inputs,
        memory: Memory | None = None,
        *,
        key: Key[Array, ""] | None = None,
        capture: Sequence[str] = (),
    ) -> Output: ...

    def logits(self, hidden: Float[Array, "B P D"]) -> Float[Array, "B P V"]: ...

    def init_memory(self, batch_size: int) -> Memory | None: ...


def build_model(
    config: ModelConfig, vocab_size: int, *, precision: Precision = "float32", remat: Remat = "cheap"
) -> Bert | Gpt | Xlnet:
    """The model without values; `models.parameters.initialize` draws them."""
    return MODELS[type(config)](config, vocab_size, precision=precision, remat=remat)
