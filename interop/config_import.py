"""`config.json` of a Hugging Face folder as an experiment, refusing what our models cannot be."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batch import InputError
from data.config import DataConfig
from interop.families import ACTIVATIONS, BERT, GPT, SYNONYMS, XLNET, Family, family_of
from models import BertConfig, GptConfig, ModelConfig, XlnetConfig
from objectives import CausalLm, MaskedLm, PermutationLm
from training.config import Experiment

SIZES = {"num_layers", "num_heads", "model_dim", "mlp_dim", "max_length"}
"""Fields of ours that config.json must tell: no default is a guess about somebody's weights."""

LONGEST_MEMORY = 1 << 16
"""Tokens; more is no model's, and would fill the machine."""


def read_config(folder: Path) -> dict[str, Any]:
    """The values of config.json. Raises InputError where there are none."""
    file = folder / "config.json"
    try:
        values = json.loads(file.read_text())
    except FileNotFoundError:
        raise InputError(
            f"--from_hf={folder}: holds no config.json; name the folder of a checkpoint, which "
            "`hf download NAME --local-dir=DIR` fetches."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"--from_hf: {file} cannot be read ({error}); fetch it again.") from None
    if not isinstance(values, dict):
        raise InputError(f"--from_hf: {file} is not an object of fields; fetch it again.")
    return values


def to_experiment(values: Mapping[str, Any], names: set[str]) -> Experiment:
    """The experiment whose model a checkpoint holds, given config.json and the names of its tensors.

    The model is theirs; the objective is what such a model was trained by; the data is the default corpus, cut as the
    objective needs it. Raises InputError where config.json says what our model is not.
    """
    family = family_of(values)
    for field, only in family.fixed.items():
        if values.get(field, only) != only:
            raise InputError(
                f"config.json: {field}={values[field]}: {family.config.__name__} is that of {field}={only}."
            )
    model = _model(family, values, names)
    return Experiment(model, *_objective(model, values))


def _model(family: Family, values: Mapping[str, Any], names: set[str]) -> ModelConfig:
    fields: dict[str, Any] = {}
    for theirs, ours in {**family.fields, **family.dropouts}.items():
        value = values.get(theirs)
        if value is None:
            continue
        if not isinstance(value, int | float) or (ours in {*SIZES, "num_segments"} and not isinstance(value, int)):
            raise InputError(f"config.json: {theirs}={value}: must be a number; correct it.")
        fields[ours] = value
    needed = [theirs for theirs, ours in family.fields.items() if ours in SIZES and ours not in fields]
    if family is GPT and "n_inner" in needed:
        needed.remove("n_inner")
        fields["mlp_dim"] = 4 * fields.get("model_dim", 0)  # None: four times the width
    if needed:
        raise InputError(f"config.json: {needed[0]} is missing; give the complete file.")
    field, default = family.activation
    activation = values.get(field) or default
    activation = SYNONYMS.get(str(activation), activation)
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise InputError(f"config.json: {field}={activation}: not one of {', '.join(ACTIVATIONS)}.")
    fields["activation"] = ACTIVATIONS[activation]
    fields["tied"] = bool(values.get("tie_word_embeddings", True))
    if family is BERT:
        fields["pair_head"] = any("pooler" in name or "seq_relationship" in name for name in names)
    if family is XLNET:
        for theirs in ("mem_len", "clamp_len", "d_head", "reuse_len"):
            value = values.get(theirs)
            if value is not None and (not isinstance(value, int) or value > LONGEST_MEMORY):
                raise InputError(f"config.json: {theirs}={value}: must be a whole number up to {LONGEST_MEMORY:,}.")
        fields["attention_dropout_rate"] = fields.get("dropout_rate", 0.1)
        fields["memory_length"] = values.get("mem_len") or 0
        fields["clamp_length"] = max(values.get("clamp_len") or 0, 0)  # -1: no clamp
        wide = values.get("d_head") or fields["model_dim"] // fields["num_heads"]
        if wide * fields["num_heads"] != fields["model_dim"]:
            raise InputError(
                f"config.json: d_head={wide}: XlnetConfig has heads of model_dim / num_heads = "
                f"{fields['model_dim'] // fields['num_heads']}."
            )
    return family.config(**fields)


def _objective(model: ModelConfig, values: Mapping[str, Any]) -> tuple[Any, DataConfig]:
    match model:
        case BertConfig() if values.get("is_decoder"):
            return CausalLm(), _data(model, layout="windows")
        case BertConfig(pair_head=True):
            return MaskedLm(pair_weight=1.0), _data(model, layout="pairs")
        case BertConfig():
            return MaskedLm(), _data(model, layout="windows")
        case GptConfig():
            return CausalLm(), _data(model, layout="windows")
        case XlnetConfig():
            layout = "streams" if model.memory_length else "windows"
            reuse = values.get("reuse_len") if model.memory_length else None
            return PermutationLm(reuse=reuse), _data(model, layout=layout)


def _data(model: ModelConfig, layout: Any) -> DataConfig:
    return DataConfig(tokenizer="imported", layout=layout, length=min(model.longest_window or 512, 512), batch_size=8)
