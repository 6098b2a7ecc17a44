"""Every experiment of configs/ can be written down, read back, built, and has the size that was published."""

import dataclasses
import json
from pathlib import Path

import jax
import pytest

from batch import InputError
from models import build_model
from models.parameters import initialize
from training.build import check_fit
from training.config import Experiment, OptimizerConfig, from_dict, to_dict, to_json
from training.flags import load
from training.state import num_parameters

CONFIGS = sorted(
    path for path in (Path(__file__).parents[1] / "configs").glob("*_*.py") if not path.name.startswith("__")
)
NAMED = {path.stem: path for path in CONFIGS}


def parameters(experiment: Experiment) -> int:
    """The size of the model at the vocabulary that its config asks for; nothing is computed."""
    model = build_model(experiment.model, experiment.data.vocab_size)
    return num_parameters(jax.eval_shape(lambda: initialize(model, jax.random.key(0))))


def test_there_is_a_config_of_each_size_for_each_model():
    sizes = ("tiny", "mini", "small", "base", "large")
    assert set(NAMED) == {f"{model}_{size}" for model in ("bert", "gpt", "xlnet") for size in sizes}


@pytest.mark.parametrize("name", NAMED)
def test_an_experiment_is_read_back_from_its_json(name):
    experiment = load(str(NAMED[name]))
    read = from_dict(json.loads(to_json(experiment)))
    assert read == experiment
    assert type(read.model) is type(experiment.model) and type(read.objective) is type(experiment.objective)
    assert hash(read) == hash(experiment)


@pytest.mark.parametrize("name", NAMED)
def test_model_objective_and_data_of_a_config_fit(name):
    check_fit(load(str(NAMED[name])))


@pytest.mark.parametrize("size", ["tiny", "mini", "small"])
def test_the_three_models_of_a_size_differ_in_model_and_objective_only(size):
    bert, gpt, xlnet = (load(str(NAMED[f"{model}_{size}"])) for model in ("bert", "gpt", "xlnet"))
    for other in (gpt, xlnet):
        assert dataclasses.replace(other, model=bert.model, objective=bert.objective) == bert
    for field in ("num_layers", "num_heads", "model_dim", "mlp_dim", "dropout_rate", "initializer_range"):
        assert getattr(bert.model, field) == getattr(gpt.model, field) == getattr(xlnet.model, field)


# Of the released checkpoints, with every head that pretraining has.
PUBLISHED = {
    "bert_base": 109_482_240 + 592_128 + 30_522 + 1_538,  # encoder and pooler; transform; bias; sentence pairs
    "bert_large": 335_141_888 + 1_051_648 + 30_522 + 2_050,
    "gpt_base": 124_439_808,  # GPT-2 of 12 layers; the head is the table of tokens
    "gpt_large": 354_823_168,  # GPT-2 of 24 layers
    "xlnet_base": 116_718_336 + 32_000,  # trunk and the start of the query stream; bias of the head
    "xlnet_large": 360_268_800 + 32_000,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_the_published_number_of_parameters(name):
    assert parameters(load(str(NAMED[name]))) == PUBLISHED[name]


def test_every_name_in_json_is_a_field_and_every_type_is_named():
    values = to_dict(load(str(NAMED["xlnet_tiny"])))
    assert values["model"]["type"] == "XlnetConfig" and values["objective"]["type"] == "PermutationLm"
    assert set(values) == {field.name for field in dataclasses.fields(Experiment)}


@pytest.mark.parametrize(
    ("group", "field", "message"),
    [
        ("model", "no_such", r"model\.no_such: unknown field"),
        ("data", "no_such", r"data\.no_such: unknown field"),
        ("objective", "type", r"objective\.type=3: unknown; it is one of"),
        ("model", "num_heads", r"model\.num_heads=3: must divide"),
    ],
)
def test_json_that_is_no_experiment_is_refused(group, field, message):
    values = to_dict(load(str(NAMED["bert_tiny"])))
    values[group][field] = 3
    with pytest.raises(InputError, match=message):
        from_dict(values)


@pytest.mark.parametrize(
    ("group", "field", "value"),
    [
        ("model", "num_layers", 2.0),
        ("model", "num_layers", True),
        ("model", "norm", "batch"),
        ("model", "tied", 1),
        ("model", "dropout_rate", "0.1"),
        ("model", "positions", None),
        ("model", "activation", ["gelu"]),
        ("model", "activation", {"type": "BertConfig"}),
        ("objective", "rate", [0.15]),
        ("objective", "max_predictions", 2.5),
        ("data", "cache", 3),
        ("data", "corpus", None),
        ("data", "layout", "sideways"),
        ("optimizer", "schedule", 7),
        ("training", "keep", "1"),
        ("mesh", "data", 0.0),
        (None, "seed", "0"),
        (None, "precision", "float64"),
        (None, "init_from", ["runs/x"]),
    ],
)
def test_a_field_of_another_type_is_refused(group, field, value):
    values = json.loads(to_json(load(str(NAMED["bert_tiny"]))))
    (values if group is None else values[group])[field] = value
    with pytest.raises(InputError, match=rf"^{group + '.' if group else ''}{field}=.*: is not of its type"):
        from_dict(values)


def test_a_group_where_none_belongs_and_a_field_that_nobody_knows_are_refused():
    values = to_dict(load(str(NAMED["bert_tiny"])))
    with pytest.raises(InputError, match=r"^training\.type=None: unknown; it is one of none"):
        from_dict({**values, "training": {"log_every": {}}})
    with pytest.raises(InputError, match=r"^news: unknown field"):
        from_dict({**values, "news": 3})


def test_a_whole_number_is_a_number():
    values = to_dict(load(str(NAMED["bert_tiny"])))
    assert from_dict({**values, "optimizer": {"clip": 1}}).optimizer.clip == 1


def test_a_model_is_not_read_as_an_objective():
    values = to_dict(load(str(NAMED["bert_tiny"])))
    values["objective"] = values["model"]
    with pytest.raises(InputError, match=r"objective\.type=BertConfig: unknown; it is one of CausalLm"):
        from_dict(values)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"total_steps": 0}, "optimizer.total_steps=0: must be at least 1"),
        ({"clip": -1.0}, "optimizer.clip=-1.0: must be between"),
        ({"beta2": 1.5}, "optimizer.beta2=1.5: must be between 0 and 1"),
        ({"warmup_steps": 2000}, "optimizer.warmup_steps=2000: exceeds optimizer.total_steps=1000"),
        ({"schedule": "wsd"}, "optimizer.decay_steps=0: the wsd schedule needs"),
    ],
)
def test_an_optimizer_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        OptimizerConfig(**fields)
