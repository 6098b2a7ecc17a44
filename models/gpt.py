"""GPT-2 (Radford et al. 2019): a pre-LayerNorm Transformer with absolute positions and a tied head."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from batch import Inputs, Memory, Output
from models.attention import SelfAttention
from models.layers import Embedding, FeedForward, LayerNorm, dropout, gather, split_key
from models.parameters import Normal, stacked
from models.precision import Precision
from models.trunk import Remat, TrunkConfig, encode

EPSILON = 1e-5  # of every LayerNorm in the release


@dataclasses.dataclass(frozen=True)
class GptConfig(TrunkConfig):
    max_length: int = 1024  # rows of the position table
    activation: Literal["gelu", "gelu_tanh", "relu"] = "gelu_tanh"

    memory_length = 0
    two_streams = False
    num_segments = None  # segments make no difference
    pair_head = False


class GptLayer(nnx.Module):
    """x = x + attention(LN(x)); x = x + mlp(LN(x)).

    The two projections that write to the residual start smaller by sqrt(2N), the number of writers (Radford et al.
    2019, section 2.3).
    """

    def __init__(self, config: GptConfig, precision: Precision):
        c, init = config, Normal(config.initializer_range)
        out = Normal(config.initializer_range / math.sqrt(2 * config.num_layers))
        self.attention_norm = LayerNorm(c.model_dim, EPSILON)
        self.attention = SelfAttention(
            c.model_dim, c.num_heads, c.attention_dropout_rate, project=init, out=out, precision=precision
        )
        self.mlp_norm = LayerNorm(c.model_dim, EPSILON)
        self.mlp = FeedForward(c.model_dim, c.mlp_dim, c.activation, up=init, down=out, precision=precision)
        self.dropout_rate = c.dropout_rate

    def __call__(
        self, x: Float[Array, "B L D"], mask: Bool[Array, "B 1 L L"], *, key: Key[Array, ""] | None = None
    ) -> tuple[Float[Array, "B L D"], Float[Array, "B H L L"]]:
        weights_key, mixed_key, mlp_key = split_key(key, 3)
        mixed, weights = self.attention(self.attention_norm(x), mask, key=weights_key)
        x = x + dropout(mixed, self.dropout_rate, mixed_key)
        return x + dropout(self.mlp(self.mlp_norm(x)), self.dropout_rate, mlp_key), weights


class Gpt(nnx.Module):
    def __init__(self, config: GptConfig, vocab_size: int, *, precision: Precision = "float32", remat: Remat = "cheap"):
        c, init = config, Normal(config.initializer_range)
        self.config = config
        self.remat: Remat = remat
        self.tokens = Embedding(vocab_size, c.model_dim, init, precision=precision)
        self.positions = Embedding(c.max_length, c.model_dim, init, precision=precision)
        self.layers = stacked(GptLayer(c, precision), c.num_layers)
        self.norm = LayerNorm(c.model_dim, EPSILON)

    def init_memory(self, batch_size: int) -> Memory | None:
        """None: GPT remembers nothing."""
        del batch_size
        return None

    def logits(self, hidden: Float[Array, "B P D"]) -> Float[Array, "B P V"]:
        return self.tokens.attend(hidden)

    def __call__(
        self,
        inputs: Inputs,
        memory: Memory | None = None,
        *,
        key: Key[Array, ""] | None = None,
        capture: Sequence[str] = (),
    ) -> Output:
        """Reads a batch. A key means training (dropout); `capture` may name "layers" and "attention"."""
        embedding_key, layers_key = split_key(key, 2)
        x = self.tokens(inputs.tokens) + self.positions(inputs.position)
        x = dropout(x, self.config.dropout_rate, embedding_key)
        last, layers, attention = encode(self.layers, x, inputs, capture, key=layers_key, remat=self.remat)
        return Output(
            hidden=gather(self.norm(last), inputs.predict),
            layers=layers,
            attention=attention,
        )
