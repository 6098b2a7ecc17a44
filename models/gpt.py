"""GPT-2 (Radford et al. 2019): a pre-norm Transformer decoder with absolute positions."""

import dataclasses
import math
from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float, Key

from batch import Inputs, Memory, Output
from models.attention import SelfAttention, self_view
from models.block import Block, encode, final_norm
from models.features import Features, captured, read, without_trunk
from models.heads import TaskHead
from models.layers import Embedding, dropout, gather, split_key
from models.parameters import Normal, stacked
from models.positions import AbsoluteConfig, AbsolutePositions
from models.precision import Precision
from models.trunk import Activation, NormPosition, Remat


@dataclasses.dataclass(frozen=True)
class GptConfig(AbsoluteConfig):
    max_length: int = 1024
    norm_position: NormPosition = "pre"
    activation: Activation = "gelu_tanh"

    epsilon = 1e-5
    memory_length = 0
    two_streams = False
    num_segments = None  # segments make no difference
    pair_head = False


def gpt_block(config: GptConfig, precision: Precision) -> Block:
    """A pre-norm block; post-norm, it is that of the first GPT (Radford et al. 2018).

    Pre-norm, the two projections that write to the residual start smaller by sqrt(2N), the number of writers (Radford
    et al. 2019, section 2.3). Post-norm, nothing accumulates.
    """
    writers = 2 * config.num_layers if config.norm_position == "pre" else 1
    init, out = Normal(config.initializer_range), Normal(config.initializer_range / math.sqrt(writers))
    attention = SelfAttention(config, project=init, out=out, precision=precision)
    return Block(config, attention, up=init, down=out, precision=precision)


class Gpt(nnx.Module):
    task: TaskHead | None = None  # of a model that is fine-tuned
    features: Features | None = None  # what that reads, if not the last layer

    def __init__(self, config: GptConfig, vocab_size: int, *, precision: Precision = "float32", remat: Remat = "cheap"):
        c, init = config, Normal(config.initializer_range)
        self.config = config
        self.remat: Remat = remat
        self.tokens = Embedding(vocab_size, c.model_dim, init, precision=precision)
        self.positions = AbsolutePositions(c, init)
        self.layers = stacked(gpt_block(c, precision), c.num_layers)
        self.norm = final_norm(c)
        self.output = None if c.tied else Embedding(vocab_size, c.model_dim, init, precision=precision)

    def init_memory(self, batch_size: int) -> Memory | None:
        """None: GPT remembers nothing."""
        del batch_size
        return None

    def logits(self, hidden: Float[Array, "B P D"]) -> Float[Array, "B P V"]:
        return (self.tokens if self.output is None else self.output).attend(hidden)

    def __call__(
        self,
        inputs: Inputs,
        memory: Memory | None = None,
        *,
        key: Key[Array, ""] | None = None,
        capture: Sequence[str] = (),
    ) -> Output:
        """Reads a batch. A key means training (dropout); `capture` may name "layers" and "attention"."""
        if inputs.features is not None:
            return without_trunk(inputs, self.features, self.task, key)
        capture = captured(capture, self.features)
        embedding_key, layers_key = split_key(key, 2)
        x = self.positions(self.tokens(inputs.tokens), inputs.position)
        x = dropout(x, self.config.dropout_rate, embedding_key)
        view = self_view(inputs, self.positions)
        last, layers, attention = encode(self.layers, x, view, capture, key=layers_key, remat=self.remat)
        last = last if self.norm is None else self.norm(last)
        hidden = read(self.features, gather(last, inputs.predict), layers, inputs.predict)
        return Output(
            hidden=hidden,
            scores=None if self.task is None else self.task(hidden, key=key),
            layers=layers,
            attention=attention,
        )
