"""BERT (Devlin et al. 2019): a post-LayerNorm Transformer encoder with absolute positions."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from batch import Inputs, Memory, Output
from models.attention import SelfAttention
from models.heads import PairHead
from models.layers import ACTIVATIONS, Embedding, FeedForward, LayerNorm, Linear, dropout, gather, split_key
from models.parameters import ZEROS, TruncatedNormal, parameter, stacked
from models.precision import Precision
from models.trunk import Remat, TrunkConfig, encode

EPSILON = 1e-12  # of every LayerNorm in the release


@dataclasses.dataclass(frozen=True)
class BertConfig(TrunkConfig):
    max_length: int = 512  # rows of the position table
    num_segments: int = 2
    activation: Literal["gelu", "gelu_tanh", "relu"] = "gelu"
    pair_head: bool = True  # pooler and sentence-pair decision; without it there is nothing to learn pairs with

    memory_length = 0
    two_streams = False


class BertLayer(nnx.Module):
    """x = LN(x + attention(x)); x = LN(x + mlp(x))."""

    def __init__(self, config: BertConfig, precision: Precision):
        c, init = config, TruncatedNormal(config.initializer_range)
        self.attention = SelfAttention(
            c.model_dim, c.num_heads, c.attention_dropout_rate, project=init, out=init, precision=precision
        )
        self.attention_norm = LayerNorm(c.model_dim, EPSILON)
        self.mlp = FeedForward(c.model_dim, c.mlp_dim, c.activation, up=init, down=init, precision=precision)
        self.mlp_norm = LayerNorm(c.model_dim, EPSILON)
        self.dropout_rate = c.dropout_rate

    def __call__(
        self, x: Float[Array, "B L D"], mask: Bool[Array, "B 1 L L"], *, key: Key[Array, ""] | None = None
    ) -> tuple[Float[Array, "B L D"], Float[Array, "B H L L"]]:
        weights_key, mixed_key, mlp_key = split_key(key, 3)
        mixed, weights = self.attention(x, mask, key=weights_key)
        x = self.attention_norm(x + dropout(mixed, self.dropout_rate, mixed_key))
        return self.mlp_norm(x + dropout(self.mlp(x), self.dropout_rate, mlp_key)), weights


class MaskedHead(nnx.Module):
    """LN(act(W h + b)), then the tied table and a bias of its own (Devlin et al. 2019, appendix A.2)."""

    def __init__(self, config: BertConfig, vocab_size: int, precision: Precision):
        dim, init = config.model_dim, TruncatedNormal(config.initializer_range)
        self.transform = Linear((dim,), (dim,), init, bias=True, precision=precision)
        self.norm = LayerNorm(dim, EPSILON)
        self.bias = parameter((vocab_size,), ZEROS)
        self.activation = config.activation

    def __call__(self, hidden: Float[Array, "B P D"], tokens: Embedding) -> Float[Array, "B P V"]:
        transformed = self.norm(ACTIVATIONS[self.activation](self.transform(hidden)))
        return tokens.attend(transformed) + self.bias[...][None, None]


class Bert(nnx.Module):
    def __init__(
        self, config: BertConfig, vocab_size: int, *, precision: Precision = "float32", remat: Remat = "cheap"
    ):
        c, init = config, TruncatedNormal(config.initializer_range)
        self.config = config
        self.remat: Remat = remat
        self.tokens = Embedding(vocab_size, c.model_dim, init, precision=precision)
        self.segments = Embedding(c.num_segments, c.model_dim, init, precision=precision)
        self.positions = Embedding(c.max_length, c.model_dim, init, precision=precision)
        self.norm = LayerNorm(c.model_dim, EPSILON)
        self.layers = stacked(BertLayer(c, precision), c.num_layers)
        self.head = MaskedHead(c, vocab_size, precision)
        self.pair_head = PairHead(c.model_dim, init, precision=precision) if c.pair_head else None

    def init_memory(self, batch_size: int) -> Memory | None:
        """None: BERT remembers nothing."""
        del batch_size
        return None

    def logits(self, hidden: Float[Array, "B P D"]) -> Float[Array, "B P V"]:
        return self.head(hidden, self.tokens)

    def pair_logits(self, pooled: Float[Array, "B D"]) -> Float[Array, "B 2"]:
        assert self.pair_head is not None, "checked when the experiment was built"
        return self.pair_head.logits(pooled)

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
        x = self.tokens(inputs.tokens) + self.segments(inputs.segments) + self.positions(inputs.position)
        x = dropout(self.norm(x), self.config.dropout_rate, embedding_key)
        last, layers, attention = encode(self.layers, x, inputs, capture, key=layers_key, remat=self.remat)
        return Output(
            hidden=gather(last, inputs.predict),
            pooled=None if self.pair_head is None else self.pair_head.pool(last, inputs.summary),
            layers=layers,
            attention=attention,
        )
