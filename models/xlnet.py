"""XLNet (Yang et al. 2019): a Transformer-XL trunk with a content and a query stream.

Both streams share every parameter and attend to the same keys and values, those of the memory and the content stream.
They differ only in where they start and in what they may see, so that a layer treats them as one list of T = L + P
rows: the L content rows, then one query row for each prediction.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from batch import InputError, Inputs, Memory, Output
from models.block import Block, final_norm
from models.factored import Factored, factored
from models.features import Features, captured, read, without_trunk
from models.heads import PairHead, TaskHead
from models.layers import Embedding, dropout, gather, select, split_key
from models.memory import empty_memory, forget, remember, remembered
from models.parameters import ZEROS, GlorotUniform, Normal, parameter, stacked
from models.precision import Precision
from models.relative import Biases, RelativeAttention, Shifted, View, sinusoids
from models.trunk import Activation, Remat, TrunkConfig, scan_layers
from models.visibility import every_row, visible


@dataclasses.dataclass(frozen=True)
class XlnetConfig(TrunkConfig):
    memory_length: int = 0  # positions of earlier windows that every layer remembers, M
    empty_memory: Literal["zeros", "masked"] = "zeros"  # what a fresh row remembers: zeros (release), or nothing
    clamp_length: int = 0  # distances beyond it count as equal; 0: no clamp
    same_length: bool = False  # no query looks back farther than memory_length (Transformer-XL, to evaluate)
    tied_biases: bool = False  # all layers share u, v and b (Transformer-XL; the released XLNets do not)
    distance_dropout: Literal["shared", "row", "none"] = "shared"  # one draw of the sinusoids a batch; row: the release
    distance_form: Literal["factored", "shift"] = "factored"  # docs/positions.md; shift wherever factored cannot serve
    relative_segments: bool = True  # whether attention knows if a key lies in the query's segment
    activation: Activation = "gelu_tanh"
    pair_head: bool = False

    epsilon = 1e-12
    two_streams = True
    max_length = longest_window = None  # positions are relative: any length
    num_segments = None  # so are segments: any number

    def __post_init__(self):
        super().__post_init__()
        for field in ("memory_length", "clamp_length"):
            if getattr(self, field) < 0:
                raise InputError(f"model.{field}={getattr(self, field)}: must be at least 0.")
        if self.same_length and not self.memory_length:
            raise InputError("model.same_length=True: is the length of the memory; give model.memory_length.")


def xlnet_block(config: XlnetConfig, precision: Precision) -> Block:
    """The block that the rows of both streams pass through."""
    c, init = config, Normal(config.initializer_range)
    attention = RelativeAttention(
        c.model_dim,
        c.num_heads,
        c.attention_dropout_rate,
        segments=c.relative_segments,
        tied_biases=c.tied_biases,
        qk_epsilon=c.epsilon if c.qk_norm else None,
        initializer=init,
        precision=precision,
    )
    return Block(c, attention, up=init, down=init, precision=precision, inner_dropout=c.dropout_rate)


class Xlnet(nnx.Module):
    task: TaskHead | None = None  # of a model that is fine-tuned
    features: Features | None = None  # what that reads, if not the last layer

    def __init__(
        self, config: XlnetConfig, vocab_size: int, *, precision: Precision = "float32", remat: Remat = "cheap"
    ):
        c, init = config, Normal(config.initializer_range)
        self.config = config
        self.remat: Remat = remat
        self.tokens = Embedding(vocab_size, c.model_dim, init, precision=precision)
        self.query = parameter((c.model_dim,), GlorotUniform())  # where every query row starts; mask_emb in the release
        heads, segments = (c.num_heads, c.model_dim // c.num_heads), c.relative_segments
        self.biases = Biases(heads, init, segments=segments) if c.tied_biases else None
        self.layers = stacked(xlnet_block(c, precision), c.num_layers)
        self.norm = final_norm(c)
        self.output = None if c.tied else Embedding(vocab_size, c.model_dim, init, precision=precision)
        self.bias = parameter((vocab_size,), ZEROS)
        self.pair_head = PairHead(c.model_dim, init, precision=precision) if c.pair_head else None

    def init_memory(self, batch_size: int) -> Memory | None:
        """What a run starts with; None for a model without memory."""
        c = self.config
        if not c.memory_length:
            return None
        attended = c.empty_memory == "zeros"
        return empty_memory(c.num_layers, batch_size, c.memory_length, c.model_dim, attended=attended)

    def forget(self, memory: Memory, fresh: Bool[Array, " B"]) -> Memory:
        """The memory with the rows that start afresh emptied."""
        return forget(memory, fresh, attended=self.config.empty_memory == "zeros")

    def logits(self, hidden: Float[Array, "B P D"]) -> Float[Array, "B P V"]:
        return (self.tokens if self.output is None else self.output).attend(hidden) + self.bias[...][None, None]

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
        """Reads a batch. A key means training (dropout); `capture` may name "layers" and "attention".

        Without a memory, the rows start as a run does: with whatever `init_memory` gives.
        """
        if inputs.features is not None:
            return without_trunk(inputs, self.features, self.task, key)
        c, (batch_size, length) = self.config, inputs.tokens.shape
        capture = captured(capture, self.features)
        memory = self.init_memory(batch_size) if memory is None else memory
        content_key, query_key, distance_key, layers_key, out_key = split_key(key, 5)
        content = dropout(self.tokens(inputs.tokens), c.dropout_rate, content_key)
        rows, x = every_row(inputs), content
        if inputs.query_stream:
            query = jnp.broadcast_to(self.query[...][None, None], (*inputs.predict.shape, c.model_dim))
            x = jnp.concatenate([x, dropout(query, c.dropout_rate, query_key)], axis=1)
            rows = jnp.concatenate([rows, inputs.predict], axis=1)
        view = self.view(inputs, rows, memory, distance_key)

        def body(x, per_layer, key):
            layer, past = per_layer
            present = x[:, :length]
            context = present if past is None else jnp.concatenate([past, present], axis=1)
            y, weights = layer(x, view, context, key=key)
            kept = None if past is None else remember(past, present, inputs.reuse)
            layers = y[:, :length] if "layers" in capture else None
            return y, (kept, layers, weights if "attention" in capture else None)

        past = None if memory is None else memory.hidden
        last, (kept, layers, attention) = scan_layers(body, x, (self.layers, past), key=layers_key, remat=self.remat)
        layers = None if layers is None else jnp.concatenate([content[None], layers])
        last = last if self.norm is None else self.norm(last)
        hidden = dropout(self.predictions(last, inputs), c.dropout_rate, out_key)
        hidden = read(self.features, hidden, layers, inputs.predict)
        return Output(
            hidden=hidden,
            pooled=None if self.pair_head is None else self.pair_head.pool(last, inputs.summary),
            scores=None if self.task is None else self.task(hidden, key=key),
            memory=None if memory is None else remembered(memory, kept, inputs),
            layers=layers,
            attention=None if attention is None else attention[:, :, :, :length],
            query_attention=attention[:, :, :, length:] if attention is not None and inputs.query_stream else None,
        )

    def view(self, inputs: Inputs, rows: Int[Array, "B T"], memory: Memory | None, key: Key[Array, ""] | None) -> View:
        """Who sees whom, how far apart, and across which segments."""
        length, past = inputs.tokens.shape[1], 0 if memory is None else memory.length
        strict = (jnp.arange(rows.shape[1]) >= length)[None]
        key_segments = jnp.pad(inputs.segments, ((0, 0), (past, 0)))
        row_segments = jnp.take_along_axis(inputs.segments, rows, axis=1)
        reach = self.config.memory_length if self.config.same_length else None
        return View(
            mask=visible(inputs, rows, memory, strict=strict, reach=reach),
            differs=row_segments[:, :, None] != key_segments[:, None, :],
            distance=self.distance(inputs, rows, past, key),
            biases=self.biases,
        )

    def distance(
        self, inputs: Inputs, rows: Int[Array, "B T"], past: int, key: Key[Array, ""] | None
    ) -> Shifted | Factored:
        """How far keys are from queries, in the form that serves. One dropout of the distances serves all layers."""
        c, (batch_size, length) = self.config, inputs.tokens.shape
        rate = c.dropout_rate if key is not None and c.distance_dropout != "none" else 0.0
        if c.distance_form == "factored" and not c.clamp_length and not rate:
            return factored(rows, length, past, c.model_dim, inputs.direction)
        table = sinusoids(past + length, 1 - length, c.model_dim, c.clamp_length)
        if rate and c.distance_dropout == "row":
            table = jnp.broadcast_to(table[None], (batch_size, *table.shape))
        table = dropout(table, rate, key)
        return Shifted(table=table, predict=inputs.predict, direction=inputs.direction, num_keys=past + length)

    def predictions(self, last: Float[Array, "B T D"], inputs: Inputs) -> Float[Array, "B P D"]:
        """The query stream's rows where a row is blind, the content stream's where it is not."""
        length = inputs.tokens.shape[1]
        seen = gather(last[:, :length], inputs.predict)
        return select(inputs.blind, last[:, length:], seen) if inputs.query_stream else seen
