"""Which tensor of a Hugging Face checkpoint is which parameter of ours, and how the two are laid out.

One table for each model serves both directions. `{n}` stands for the layer: their checkpoints hold one tensor for each
layer, ours one parameter with a leading layer axis.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Shaped

from models import BertConfig, GptConfig, ModelConfig, XlnetConfig

Values = Shaped[np.ndarray, "..."]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one array is written in the two codebases; neither direction changes a bit of any number."""

    theirs: Callable[[Values], Values]
    ours: Callable[[Values, tuple[int, ...]], Values]  # also gets the shape of our parameter


def _rows_are_outputs(contracted: int) -> Layout:
    """torch.nn.Linear keeps `[outputs, inputs]`; our kernels begin with their `contracted` input axes."""
    return Layout(
        theirs=lambda x: x.reshape(int(np.prod(x.shape[:contracted])), -1).T,
        ours=lambda x, shape: x.T.reshape(shape),
    )


SAME = Layout(theirs=lambda x: x, ours=lambda x, shape: x.reshape(shape))
FLAT = Layout(theirs=lambda x: x.reshape(-1), ours=lambda x, shape: x.reshape(shape))
FROM_MODEL = _rows_are_outputs(1)  # D to anything
FROM_HEADS = _rows_are_outputs(2)  # H K to D
COLUMNS = Layout(theirs=lambda x: x.reshape(x.shape[0], -1), ours=lambda x, shape: x.reshape(shape))  # GPT-2's Conv1D
HEADS_TO_COLUMNS = Layout(theirs=lambda x: x.reshape(-1, x.shape[-1]), ours=lambda x, shape: x.reshape(shape))
MODEL_FIRST = Layout(theirs=lambda x: np.moveaxis(x, -1, 0), ours=lambda x, shape: np.moveaxis(x, 0, -1))  # XLNet's o
ONE_BY_ONE = Layout(theirs=lambda x: x[None, None], ours=lambda x, shape: x.reshape(shape))  # XLNet's mask_emb


@dataclasses.dataclass(frozen=True)
class Row:
    """One tensor of theirs; it holds several parameters of ours side by side where they are fused."""

    theirs: str
    ours: tuple[str, ...]
    layout: Layout


def _row(theirs: str, ours: str, layout: Layout = SAME) -> Row:
    return Row(theirs, tuple(ours.split()), layout)


def _linear(theirs: str, ours: str, kernel: Layout = FROM_MODEL, bias: Layout = FLAT) -> tuple[Row, ...]:
    return _row(f"{theirs}.weight", f"{ours}/kernel", kernel), _row(f"{theirs}.bias", f"{ours}/bias", bias)


def _norm(theirs: str, ours: str) -> tuple[Row, ...]:
    return _row(f"{theirs}.weight", f"{ours}/scale"), _row(f"{theirs}.bias", f"{ours}/bias")


def _bert(config: BertConfig) -> tuple[Row, ...]:
    layer = "bert.encoder.layer.{n}"
    rows = (
        _row("bert.embeddings.word_embeddings.weight", "tokens/table"),
        _row("bert.embeddings.position_embeddings.weight", "positions/table"),
        _row("bert.embeddings.token_type_embeddings.weight", "segments/table"),
        *_norm("bert.embeddings.LayerNorm", "norm"),
        *_linear(f"{layer}.attention.self.query", "layers/attention/query"),
        *_linear(f"{layer}.attention.self.key", "layers/attention/key"),
        *_linear(f"{layer}.attention.self.value", "layers/attention/value"),
        *_linear(f"{layer}.attention.output.dense", "layers/attention/out", FROM_HEADS),
        *_norm(f"{layer}.attention.output.LayerNorm", "layers/attention_norm"),
        *_linear(f"{layer}.intermediate.dense", "layers/mlp/up"),
        *_linear(f"{layer}.output.dense", "layers/mlp/down"),
        *_norm(f"{layer}.output.LayerNorm", "layers/mlp_norm"),
        *_linear("cls.predictions.transform.dense", "head/transform"),
        *_norm("cls.predictions.transform.LayerNorm", "head/norm"),
        _row("cls.predictions.bias", "head/bias"),
    )
    pair = (*_linear("bert.pooler.dense", "pair_head/pooler"), *_linear("cls.seq_relationship", "pair_head/decision"))
    return (*rows, *pair) if config.pair_head else rows


def _gpt() -> tuple[Row, ...]:
    layer, attention = "transformer.h.{n}", "layers/attention"
    fused = " ".join(f"{attention}/{part}/{{}}" for part in ("query", "key", "value"))
    return (
        _row("transformer.wte.weight", "tokens/table"),
        _row("transformer.wpe.weight", "positions/table"),
        *_norm(f"{layer}.ln_1", "layers/attention_norm"),
        _row(f"{layer}.attn.c_attn.weight", fused.replace("{}", "kernel"), COLUMNS),
        _row(f"{layer}.attn.c_attn.bias", fused.replace("{}", "bias"), FLAT),
        *_linear(f"{layer}.attn.c_proj", f"{attention}/out", HEADS_TO_COLUMNS),
        *_norm(f"{layer}.ln_2", "layers/mlp_norm"),
        *_linear(f"{layer}.mlp.c_fc", "layers/mlp/up", COLUMNS),
        *_linear(f"{layer}.mlp.c_proj", "layers/mlp/down", COLUMNS),
        *_norm("transformer.ln_f", "norm"),
    )


def _xlnet() -> tuple[Row, ...]:
    layer, ours = "transformer.layer.{n}", "layers/attention"
    attention = f"{layer}.rel_attn"
    projections = {"q": "query", "k": "key", "v": "value", "r": "distance"}
    biases = {"r_w_bias": "content_bias", "r_r_bias": "distance_bias", "r_s_bias": "segment_bias"}
    return (
        _row("transformer.word_embedding.weight", "tokens/table"),
        _row("transformer.mask_emb", "query", ONE_BY_ONE),
        *(_row(f"{attention}.{name}", f"{ours}/{own}/kernel") for name, own in projections.items()),
        _row(f"{attention}.o", f"{ours}/out/kernel", MODEL_FIRST),
        *(_row(f"{attention}.{name}", f"{ours}/{own}") for name, own in biases.items()),
        _row(f"{attention}.seg_embed", f"{ours}/segment"),
        *_norm(f"{attention}.layer_norm", "layers/attention_norm"),
        *_linear(f"{layer}.ff.layer_1", "layers/mlp/up"),
        *_linear(f"{layer}.ff.layer_2", "layers/mlp/down"),
        *_norm(f"{layer}.ff.layer_norm", "layers/mlp_norm"),
        _row("lm_loss.bias", "bias"),
    )


UNTIED = {
    BertConfig: "cls.predictions.decoder.weight",
    GptConfig: "lm_head.weight",
    XlnetConfig: "lm_loss.weight",
}
"""Their name of the head's table: a copy of the token table unless the head is untied."""


def rows(config: ModelConfig) -> tuple[Row, ...]:
    """Every tensor that a complete checkpoint of such a model holds, copies of tied ones aside."""
    match config:
        case BertConfig():
            known = _bert(config)
        case GptConfig():
            known = _gpt()
        case XlnetConfig():
            known = _xlnet()
    return known if config.tied else (*known, _row(UNTIED[type(config)], "output/table"))


ALIASES = ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias"))
"""Endings that releases converted from TensorFlow still have."""

BUFFERS = ("position_ids", "attn.bias", "attn.masked_bias")
"""Endings of tensors that hold no parameter: indices and causal masks."""

BARE = {BertConfig: "bert.", GptConfig: "transformer.", XlnetConfig: "transformer."}
"""What the names of a checkpoint of the trunk alone, or of the released GPT-2, begin with once it is put in front."""


def canonical(name: str, config: type[ModelConfig], bare: bool) -> str | None:
    """The name in our tables for one in a file; None for a buffer. `bare`: the file's names lack the trunk's prefix."""
    if name.endswith(BUFFERS) and not name.endswith("c_attn.bias"):
        return None
    for old, new in ALIASES:
        if name.endswith(old):
            name = name.removesuffix(old) + new
    heads = ("cls.", "lm_head.", "lm_loss.")
    return name if not bare or name.startswith(heads) else BARE[config] + name
