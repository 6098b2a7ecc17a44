"""The cases on which every law is checked: each objective with each model that can serve it, on awkward text.

Dropout is off and parameters are large: with the initial values of training, most leaks are too faint to be seen.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from batch import Batch, Inputs, Memory, Output, Task, Vocab
from models import BertConfig, GptConfig, ModelConfig, XlnetConfig, build_model
from models.parameters import initialize
from objectives import (
    CausalLm,
    MaskedDiffusion,
    MaskedLm,
    MaskedNextToken,
    Mixture,
    Objective,
    PermutationLm,
    PrefixLm,
)

VOCAB = Vocab(size=64, special=(0, 1, 2, 3), pad=0, cls=1, sep=2, mask=3)
ROWS, LENGTH, HALF = 4, 12, 6

QUICK: dict[str, Any] = {"xla_backend_optimization_level": 0}
"""Compiler options for what runs a few times on tiny arrays: compiling is nearly all of its cost."""

if (0, 10, 2) <= jax.__version_info__ < (0, 11, 1):
    # Jacobians come out wrong on the CPU: where a product with one batched operand has more than 2^15 numbers, its sum
    # over the last axis reads other rows (github.com/jax-ml/jax/issues/39103). The sums of a training step do not.
    QUICK["xla_cpu_experimental_ynn_fusion_type"] = ""

ALIKE: dict[str, Any] = {"xla_cpu_use_fusion_emitters": True} if jax.__version_info__ <= (0, 10, 2) else {}
"""Compiler options for two programs whose numbers must be the same bits: the emitters that users have. Those that the
tests compile with (conftest.py) round one value differently in different fusions."""

SIZE = {
    "num_layers": 3,
    "num_heads": 2,
    "model_dim": 16,
    "mlp_dim": 32,
    "dropout_rate": 0.0,
    "attention_dropout_rate": 0.0,
}
MODERN = {
    "norm": "rms",
    "norm_position": "pre",
    "activation": "silu",
    "gated": True,
    "qk_norm": True,
    "tied": False,
}
"""Every switch that the three models share, away from the original."""

MODELS: dict[str, ModelConfig] = {
    "bert": BertConfig(**SIZE, max_length=16, num_segments=3),
    "gpt": GptConfig(**SIZE, max_length=16),
    "xlnet": XlnetConfig(**SIZE),
    "xlnet_memory": XlnetConfig(**SIZE, memory_length=8, empty_memory="masked"),
    "gpt_modern": GptConfig(**SIZE, **MODERN, positions="rotary"),
    "xlnet_modern": XlnetConfig(**SIZE, **MODERN, relative_segments=False, memory_length=8, empty_memory="masked"),
}
OBJECTIVES: dict[str, Objective] = {
    "causal": CausalLm(),
    "backward": CausalLm(direction="backward"),
    "causal_reuse": CausalLm(reuse=HALF),
    "masked": MaskedLm(rate=0.34),
    "masked_word": MaskedLm(rate=0.34, unit="word", corrupt="unit"),
    "masked_span": MaskedLm(rate=0.34, unit="span"),
    "masked_reuse": MaskedLm(rate=0.34, reuse=HALF),
    "permutation": PermutationLm(predict_one_in=3),
    "permutation_token": PermutationLm(predict_one_in=3, spans="token", specials_seen=True),
    "permutation_block": PermutationLm(predict_one_in=3, unit="word", perm_size=3),
    "permutation_reuse": PermutationLm(predict_one_in=3, reuse=HALF),
    "prefix": PrefixLm(),
    "diffusion": MaskedDiffusion(),
    "next": MaskedNextToken(MaskedLm(rate=0.34)),
    "mixture": Mixture((CausalLm(), MaskedNextToken(MaskedLm(rate=0.34)))),
    "mixture_streams": Mixture((CausalLm(), PermutationLm(predict_one_in=3))),
}
WITH_ONE = {"prefix": "gpt", "diffusion": "bert", "next": "gpt", "mixture": "bert", "mixture_streams": "xlnet"}
"""Objectives that ask nothing of a model that others do not ask, and the one model that they are checked with."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One objective with one model."""

    model: ModelConfig
    objective: Objective


def serves(model: ModelConfig, objective: Objective) -> bool:
    """Whether the model can serve the objective: what it means, told apart from the check of an experiment."""
    if objective.query_stream and not isinstance(model, XlnetConfig):
        return False
    if objective.reuse is not None:
        return model.memory_length > 0
    return not model.memory_length or objective != OBJECTIVES["backward"]  # which must not see what precedes a window


FEW = ("causal", "masked", "permutation", "permutation_reuse")
"""The objectives with which models are checked that differ from another in their switches only."""

CASES = {
    f"{model}-{objective}": Case(MODELS[model], OBJECTIVES[objective])
    for model in MODELS
    for objective in (FEW if "modern" in model else OBJECTIVES)
    if serves(MODELS[model], OBJECTIVES[objective]) and WITH_ONE.get(objective, model) == model
}


def rows(documents: list[list[int]], seed: int, *, relative: bool) -> Batch:
    """Random text over the given documents, 0 being padding, with specials, words and segments."""
    rng, document = np.random.default_rng(seed), np.asarray(documents)
    real, index = document > 0, np.arange(document.shape[1])
    tokens = rng.integers(4, VOCAB.size, document.shape)
    tokens = np.where(rng.random(document.shape) < 0.12, VOCAB.sep, tokens)
    tokens = np.where(real, tokens, VOCAB.pad)
    word = np.cumsum(rng.random(document.shape) < 0.6, axis=1)
    last = np.where(real, index, 0).max(axis=1)
    return Batch(
        tokens=tokens.astype(np.int32),
        segments=np.where(real, rng.integers(0, 2, document.shape) + (index == last[:, None]), 0).astype(np.int32),
        document=document.astype(np.int32),
        word=np.where(VOCAB.is_special[tokens], -1, word).astype(np.int32),
        example=rng.integers(0, 10_000, len(document)).astype(np.int32),
        epoch=np.zeros(len(document), np.int32),
        fresh=np.ones(len(document), bool),
        summary=last.astype(np.int32),
        direction=np.resize([1, -1], len(document)).astype(np.int32) if relative else None,
        task=Task(label=rng.integers(0, 2, len(document)).astype(np.int32)),
    )


def text(model: ModelConfig, seed: int = 0) -> Batch:
    """Two documents in one row; padding on the right; padding on both sides; a full row."""
    documents = [[1] * 5 + [2] * 7, [3] * 9 + [0] * 3, [0] * 2 + [4] * 8 + [0] * 2, [5] * 12]
    return rows(documents, seed, relative=model.max_length is None)


def continuation(model: ModelConfig, seed: int = 1) -> Batch:
    """The window after `text`: documents go on, one ends, and the last row starts afresh."""
    documents = [[2] * 4 + [6] * 8, [3] * 12, [4] * 10 + [0] * 2, [7] * 12]
    return rows(documents, seed, relative=model.max_length is None).replace(fresh=np.array([False, False, False, True]))


@functools.cache
def build(config: ModelConfig, vocab_size: int = VOCAB.size, precision: Any = "float32", remat: Any = "cheap"):
    return build_model(config, vocab_size, precision=precision, remat=remat)


def redraw(path: tuple[Any, ...], value: jax.Array, rng: np.random.Generator) -> jax.Array:
    """A large value for each parameter, biases included; the scales of norms around 1."""
    noise = rng.normal(size=value.shape).astype(np.float32)
    return jnp.asarray(1 + 0.2 * noise if path[-1].key == "scale" else 0.4 * noise)


@functools.cache
def loud(config: ModelConfig, vocab_size: int = VOCAB.size, seed: int = 0) -> Any:
    """Parameters at which every dependence is visible."""
    shapes = jax.eval_shape(lambda: initialize(build(config, vocab_size), jax.random.key(0)))
    rng = np.random.default_rng(seed)
    return jax.tree_util.tree_map_with_path(lambda path, value: redraw(path, value, rng), shapes)


@functools.cache
def _reader(config: ModelConfig, vocab_size: int):
    graphdef = nnx.graphdef(build(config, vocab_size))

    def read(params, inputs, memory, capture):
        model = nnx.merge(graphdef, params)
        output = model(inputs, memory, capture=capture)
        return output, jax.nn.log_softmax(model.logits(output.hidden))

    return jax.jit(read, static_argnums=3, compiler_options=QUICK)


def read(
    config: ModelConfig,
    inputs: Inputs,
    memory: Memory | None = None,
    *,
    vocab_size: int = VOCAB.size,
    params: Any = None,
    capture: tuple[str, ...] = (),
) -> tuple[Output, jax.Array]:
    """What the loud model computes, and the log-probabilities [B P V] that it gives."""
    params = loud(config, vocab_size) if params is None else params
    return _reader(config, vocab_size)(params, inputs, memory, capture)


@functools.cache
def _preparer(objective: Objective):
    return jax.jit(lambda batch, key: objective.prepare(batch, VOCAB, key), compiler_options=QUICK)


def prepare(objective: Objective, batch: Batch, seed: int = 0):
    """What the objective shows and asks."""
    return _preparer(objective)(batch, jax.random.key(seed))


def given(order: Any, tokens: Any, predict: Any, **fields: Any) -> Inputs:
    """Inputs made by hand: one document a row, one segment, blind if a query stream is asked for."""
    order, tokens, predict = np.asarray(order), np.asarray(tokens), np.asarray(predict)
    batch, length = tokens.shape
    whole = np.broadcast_to
    defaults: dict[str, Any] = {
        "segments": np.zeros((batch, length), np.int32),
        "document": np.ones((batch, length), np.int32),
        "position": np.ascontiguousarray(whole(np.arange(length), tokens.shape)),
        "blind": np.full(batch, bool(fields.get("query_stream"))),
        "summary": np.zeros(batch, np.int32),
    }
    arrays = {
        "tokens": tokens,
        "order": np.ascontiguousarray(whole(order, tokens.shape)),
        "predict": np.ascontiguousarray(whole(predict, (batch, predict.shape[-1]))),
    }
    every = {**arrays, **defaults, **fields}
    return Inputs(**{k: jnp.asarray(v) if isinstance(v, np.ndarray) else v for k, v in every.items()})


def some_memory(config: ModelConfig, batch: Batch, seed: int = 0) -> Memory | None:
    """A memory as earlier windows may leave it: slots of a row's own document, of another one, void, and empty."""
    if not config.memory_length:
        return None
    rng = np.random.default_rng(seed)
    own = np.where(batch.document > 0, batch.document, batch.document.max(axis=1, keepdims=True))[:, :1]
    document = np.concatenate([np.zeros_like(own), own + 50, own, own, own + 50, own, own, own], axis=1)
    valid = np.ones_like(document, bool)
    valid[:, 3] = False
    valid[::2, 0] = False
    hidden = rng.normal(size=(config.num_layers, len(own), config.memory_length, config.model_dim))
    return Memory(
        hidden=jnp.asarray(hidden, jnp.float32), valid=jnp.asarray(valid), document=jnp.asarray(document, jnp.int32)
    )
