"""An experiment as the `config.json` of a Hugging Face folder, refusing what no class of theirs computes."""

import dataclasses
from typing import Any

from batch import InputError, Vocab
from interop.families import ACTIVATIONS, BERT, FAMILIES, GPT, Family
from models import BertConfig, GptConfig, ModelConfig, XlnetConfig
from objectives import CausalLm, MaskedLm, PermutationLm
from training.config import Experiment

TOLD_BY_NAME = {"activation", "tied", "memory_length", "clamp_length", "pair_head"}
"""Fields of ours that `to_config` or the choice of the class tells in words of its own."""

HARMLESS = {"empty_memory", "distance_dropout", "distance_form", "attention_dropout_rate"}
"""Fields of ours that theirs may lack: they change no weight, and nothing that weights alone could say."""


def to_config(experiment: Experiment, vocab: Vocab, vocab_size: int) -> dict[str, Any]:
    """Their config.json for an experiment. Raises InputError where no class of theirs is the same function."""
    model, objective = experiment.model, experiment.objective
    family = next(family for family in FAMILIES if family.config is type(model))
    architecture = _architecture(experiment)
    _check_options(model, family, architecture)
    names = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
    values: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": family.model_type,
        "vocab_size": vocab_size,
        family.activation[0]: names[model.activation],
        "tie_word_embeddings": model.tied,
        "dtype": "float32",
        **family.fixed,
        **{theirs: getattr(model, ours) for theirs, ours in {**family.fields, **family.dropouts}.items()},
        **_tokens(family, vocab),
    }
    if family is BERT:
        values["is_decoder"] = architecture == "BertLMHeadModel"
    if family is GPT:
        values["embd_pdrop"] = model.dropout_rate
    if isinstance(model, XlnetConfig):
        values |= {
            "d_head": model.model_dim // model.num_heads,
            "mem_len": model.memory_length or None,
            "reuse_len": objective.reuse,
            "clamp_len": model.clamp_length or -1,
            "use_mems_eval": bool(model.memory_length),
        }
    return values


def _check_options(model: ModelConfig, family: Family, architecture: str) -> None:
    """Raises InputError where a field of ours has no counterpart and is not what theirs always is: our default."""
    told = {*family.fields.values(), *family.dropouts.values(), *TOLD_BY_NAME, *HARMLESS}
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        if field.name not in told and value != field.default:
            raise InputError(
                f"--to_hf: model.{field.name}={value}: {architecture} has no such option; "
                f"only models with {field.name}={field.default} can go there."
            )
    if model.num_segments == 0:
        raise InputError(
            f"--to_hf: model.num_segments=0: {architecture} always adds a segment's vector; "
            "only models with segments can go there."
        )


def _architecture(experiment: Experiment) -> str:
    """The class of theirs that computes what the model does. Raises InputError where there is none."""
    model, objective = experiment.model, experiment.objective
    forward = isinstance(objective, CausalLm) and objective.direction == "forward"
    match model:
        case BertConfig() if isinstance(objective, MaskedLm):
            return "BertForPreTraining" if model.pair_head else "BertForMaskedLM"
        case BertConfig(pair_head=False) if forward:
            return "BertLMHeadModel"
        case GptConfig() if forward:
            return "GPT2LMHeadModel"
        case XlnetConfig(pair_head=False) if isinstance(objective, PermutationLm):
            return "XLNetLMHeadModel"
    pair = ", model.pair_head=True" if model.pair_head else ""
    direction = "" if forward or not isinstance(objective, CausalLm) else f", objective.direction={objective.direction}"
    raise InputError(
        f"--to_hf: objective={type(objective).__name__} with model={type(model).__name__}{pair}{direction}: no class "
        "of Hugging Face's is that; there are classes for BertConfig with MaskedLm or CausalLm, GptConfig with "
        "CausalLm and XlnetConfig with PermutationLm."
    )


def _tokens(family: Family, vocab: Vocab) -> dict[str, int | None]:
    """The special tokens that config.json names."""
    if family is BERT:
        return {"pad_token_id": vocab.pad}
    end = {"bos_token_id": vocab.end, "eos_token_id": vocab.end}
    return end if family is GPT else {**end, "pad_token_id": vocab.pad}
