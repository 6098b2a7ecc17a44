"""The model types of Hugging Face that are ours too, and how their `config.json` calls our fields."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from batch import InputError
from models import BertConfig, GptConfig, ModelConfig, XlnetConfig

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "relu": "relu", "silu": "silu"}
"""Theirs to ours: their "gelu" is the error-function form and "gelu_new" the tanh form, whatever the model's paper."""

SYNONYMS = {"gelu_pytorch_tanh": "gelu_new", "gelu_fast": "gelu_new", "swish": "silu"}


@dataclasses.dataclass(frozen=True)
class Family:
    """How one of their model types is described, and what it must say for ours to be the same function."""

    model_type: str
    config: type[ModelConfig]
    fields: Mapping[str, str]  # theirs to ours
    activation: tuple[str, str]  # theirs, and what it is where config.json does not say
    dropouts: Mapping[str, str]
    fixed: Mapping[str, Any]  # theirs, at the only value that ours can be
    architectures: tuple[str, ...]  # that hold nothing but what our model has


BERT = Family(
    model_type="bert",
    config=BertConfig,
    fields={
        "num_hidden_layers": "num_layers",
        "num_attention_heads": "num_heads",
        "hidden_size": "model_dim",
        "intermediate_size": "mlp_dim",
        "max_position_embeddings": "max_length",
        "type_vocab_size": "num_segments",
        "initializer_range": "initializer_range",
    },
    activation=("hidden_act", "gelu"),
    dropouts={"hidden_dropout_prob": "dropout_rate", "attention_probs_dropout_prob": "attention_dropout_rate"},
    fixed={"layer_norm_eps": 1e-12, "position_embedding_type": "absolute", "add_cross_attention": False},
    architectures=("BertForPreTraining", "BertForMaskedLM", "BertLMHeadModel", "BertModel"),
)
GPT = Family(
    model_type="gpt2",
    config=GptConfig,
    fields={
        "n_layer": "num_layers",
        "n_head": "num_heads",
        "n_embd": "model_dim",
        "n_inner": "mlp_dim",
        "n_positions": "max_length",
        "initializer_range": "initializer_range",
    },
    activation=("activation_function", "gelu_new"),
    dropouts={"resid_pdrop": "dropout_rate", "attn_pdrop": "attention_dropout_rate"},
    fixed={
        "layer_norm_epsilon": 1e-5,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    architectures=("GPT2LMHeadModel", "GPT2Model"),
)
XLNET = Family(
    model_type="xlnet",
    config=XlnetConfig,
    fields={
        "n_layer": "num_layers",
        "n_head": "num_heads",
        "d_model": "model_dim",
        "d_inner": "mlp_dim",
        "initializer_range": "initializer_range",
        "same_length": "same_length",
    },
    activation=("ff_activation", "gelu"),
    dropouts={"dropout": "dropout_rate"},
    fixed={"layer_norm_eps": 1e-12, "attn_type": "bi", "untie_r": True},
    architectures=("XLNetLMHeadModel", "XLNetModel"),
)
FAMILIES = (BERT, GPT, XLNET)


def family_of(values: Mapping[str, Any]) -> Family:
    """The family that a config.json is of. Raises InputError for one that we do not have, naming those we have."""
    supported = "; ".join(f"{f.model_type} ({', '.join(f.architectures)})" for f in FAMILIES)
    found = [family for family in FAMILIES if family.model_type == values.get("model_type")]
    if not found:
        raise InputError(f"config.json: model_type={values.get('model_type')}: not supported; these are: {supported}.")
    told = values.get("architectures") or []
    for name in told if isinstance(told, list) else [told]:
        if name not in found[0].architectures:
            raise InputError(f"config.json: architectures={name}: not supported; these are: {supported}.")
    return found[0]


def family_name(model: ModelConfig) -> Literal["bert", "gpt", "xlnet"]:
    """What our own tables call the family of a model."""
    match model:
        case BertConfig():
            return "bert"
        case GptConfig():
            return "gpt"
        case XlnetConfig():
            return "xlnet"
