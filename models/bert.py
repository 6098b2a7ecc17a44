"""BERT (Devlin et al. 2019): a post-norm Transformer encoder with absolute positions."""

import dataclasses
from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float, Key

from batch import InputError, Inputs, Memory, Output
from models.attention import SelfAttention, self_view
from models.block import Block, encode, final_norm
from models.features import Features, captured, read, without_trunk
from models.heads import PairHead, TaskHead
from models.layers import ACTIVATIONS, Embedding, Linear, dropout, gather, make_norm, split_key
from models.parameters import ZEROS, TruncatedNormal, parameter, stacked
from models.positions import AbsoluteConfig, AbsolutePositions
from models.precision import Precision
from models.trunk import Remat


@dataclasses.dataclass(frozen=True)
class BertConfig(AbsoluteConfig):
    num_segments: int = 2  # 0: segments make no difference
    pair_head: bool = True  # pooler and sentence-pair decision; without it there is nothing to learn pairs with

    epsilon = 1e-12
    memory_length = 0
    two_streams = False

    def __post_init__(self):
        super().__post_init__()
        if self.num_segments < 0:
            raise InputError(f"model.num_segments={self.num_segments}: must be at least 0.")


def bert_block(config: BertConfig, precision: Precision) -> Block:
    init = TruncatedNormal(config.initializer_range)
    attention = SelfAttention(config, project=init, out=init, precision=precision)
    return Block(config, attention, up=init, down=init, precision=precision)


class MaskedHead(nnx.Module):
    """norm(act(W h + b)), then the table, which is tied, and a bias of its own (Devlin et al. 2019, appendix A.2)."""

    def __init__(self, config: BertConfig, vocab_size: int, precision: Precision):
        dim, init = config.model_dim, TruncatedNormal(config.initializer_range)
        self.transform = Linear((dim,), (dim,), init, bias=True, precision=precision)
        self.norm = make_norm(config)
        self.bias = parameter((vocab_size,), ZEROS)
        self.activation = config.activation

    def __call__(self, hidden: Float[Array, "B P D"], table: Embedding) -> Float[Array, "B P V"]:
        transformed = self.norm(ACTIVATIONS[self.activation](self.transform(hidden)))
        return table.attend(transformed) + self.bias[...][None, None]


class Bert(nnx.Module):
    task: TaskHead | None = None  # of a model that is fine-tuned
    features: Features | None = None  # what that reads, if not the last layer

    def __init__(
        self, config: BertConfig, vocab_size: int, *, precision: Precision = "float32", remat: Remat = "cheap"
    ):
        c, init = config, TruncatedNormal(config.initializer_range)
        self.config = config
        self.remat: Remat = remat
        self.tokens = Embedding(vocab_size, c.model_dim, init, precision=precision)
        self.segments = Embedding(c.num_segments, c.model_dim, init, precision=precision) if c.num_segments else None
        self.positions = AbsolutePositions(c, init)
        self.norm = make_norm(c)  # of the embeddings
        self.layers = stacked(bert_block(c, precision), c.num_layers)
        self.final_norm = final_norm(c)
        self.head = MaskedHead(c, vocab_size, precision)
        self.output = None if c.tied else Embedding(vocab_size, c.model_dim, init, precision=precision)
        self.pair_head = PairHead(c.model_dim, init, precision=precision) if c.pair_head else None

    def init_memory(self, batch_size: int) -> Memory | None:
        """None: BERT remembers nothing."""
        del batch_size
        return None

    def logits(self, hidden: Float[Array, "B P D"]) -> Float[Array, "B P V"]:
        return self.head(hidden, self.tokens if self.output is None else self.output)

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
        if inputs.features is not None:
            return without_trunk(inputs, self.features, self.task, key)
        capture = captured(capture, self.features)
        embedding_key, layers_key = split_key(key, 2)
        x = self.tokens(inputs.tokens)
        x = x if self.segments is None else x + self.segments(inputs.segments)
        x = dropout(self.norm(self.positions(x, inputs.position)), self.config.dropout_rate, embedding_key)
        view = self_view(inputs, self.positions)
        last, layers, attention = encode(self.layers, x, view, capture, key=layers_key, remat=self.remat)
        last = last if self.final_norm is None else self.final_norm(last)
        hidden = read(self.features, gather(last, inputs.predict), layers, inputs.predict)
        return Output(
            hidden=hidden,
            pooled=None if self.pair_head is None else self.pair_head.pool(last, inputs.summary),
            scores=None if self.task is None else self.task(hidden, key=key),
            layers=layers,
            attention=attention,
        )
