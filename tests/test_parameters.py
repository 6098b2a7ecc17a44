"""A parameter's first value is a function of its path and layer, whatever else the model has."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import traverse_util

from cases import MODELS, SIZE
from models import BertConfig, GptConfig, ModelConfig, XlnetConfig, build_model
from models.parameters import GlorotUniform, Normal, TruncatedNormal, abstract_params, initialize


def drawn(config: ModelConfig, seed: int = 0, **options) -> dict[str, np.ndarray]:
    """The first values by path."""
    values = initialize(build_model(config, 32, **options), jax.random.key(seed))
    return {path: np.asarray(value) for path, value in traverse_util.flatten_dict(values, sep="/").items()}


def equal_where_shared(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> int:
    """Checks that shared paths agree, over as many layers as both have; returns how many there are."""
    shared = one.keys() & other.keys()
    for path in shared:
        layers = min(len(one[path]), len(other[path])) if path.startswith("layers/") else None
        np.testing.assert_array_equal(one[path][:layers], other[path][:layers], err_msg=path)
    return len(shared)


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (MODELS["bert"], {"num_layers": 5}),
        (MODELS["bert"], {"pair_head": False}),
        (MODELS["xlnet"], {"num_layers": 1}),
        (MODELS["xlnet"], {"pair_head": True}),
        (MODELS["xlnet"], {"memory_length": 4, "clamp_length": 2, "dropout_rate": 0.1}),
    ],
)
def test_other_parts_and_depths_change_no_shared_value(config, changes):
    one, other = drawn(config), drawn(dataclasses.replace(config, **changes))
    assert equal_where_shared(one, other) == min(len(one), len(other))


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_what_a_model_has_is_told_without_drawing_it_and_whatever_its_size(config):
    shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)  # noqa: E731
    model = build_model(config, 32)
    assert shapes(abstract_params(model)) == shapes(initialize(model, jax.random.key(0)))
    huge = build_model(dataclasses.replace(config, num_layers=10**12, mlp_dim=10**12), 10**12)
    assert abstract_params(huge)["layers"]["mlp"]["up"]["kernel"].shape == (10**12, config.model_dim, 10**12)


def test_precision_and_remat_change_no_value():
    one, other = drawn(MODELS["gpt"]), drawn(MODELS["gpt"], precision="bfloat16", remat="all")
    assert one.keys() == other.keys() and equal_where_shared(one, other) == len(one)


def test_models_share_what_has_the_same_path_and_initializer():
    gpt, xlnet = drawn(GptConfig(**SIZE)), drawn(XlnetConfig(**SIZE))
    for path in ("tokens/table", "layers/attention/query/kernel", "layers/mlp/up/kernel"):
        np.testing.assert_array_equal(gpt[path], xlnet[path])


@pytest.mark.parametrize("model", ["bert", "gpt", "xlnet"])
def test_different_paths_layers_and_keys_draw_different_values(model):
    values = drawn(MODELS[model])
    random = {path: value for path, value in values.items() if len(np.unique(value)) > 1}
    flat = [value[n].ravel() for path, value in random.items() if path.startswith("layers/") for n in range(3)]
    flat += [value.ravel() for path, value in random.items() if not path.startswith("layers/")]
    # Compared as uniform as their initializers allow: the first numbers, scaled.
    heads = {tuple(np.round(x[:8] / np.abs(x[:8]).max(), 4)) for x in flat}
    assert len(heads) == len(flat) > 10
    other = drawn(MODELS[model], seed=1)
    assert all((other[path] != value).any() for path, value in random.items())


@pytest.mark.parametrize("config", [BertConfig(**SIZE), GptConfig(**SIZE), XlnetConfig(**SIZE, pair_head=True)])
def test_biases_start_at_0_and_scales_at_1(config):
    for path, value in drawn(config).items():
        if path.endswith("/bias") or path == "bias":
            assert not value.any(), path
        elif path.endswith("/scale"):
            assert (value == 1).all(), path
        else:
            assert value.std() > 0, path


def test_initializers_have_the_scale_they_name():
    key, shape = jax.random.key(0), (200, 300)
    bound = 4 / np.sqrt(2 * 200 * 300)
    np.testing.assert_allclose(Normal(0.02)(key, shape).std() / 0.02, 1, atol=bound)
    cut = TruncatedNormal(0.02)(key, shape)
    assert np.abs(cut).max() <= 0.04
    np.testing.assert_allclose(cut.std() / 0.02, 0.8796, atol=bound)
    limit = np.sqrt(6 / (200 + 300))
    uniform = GlorotUniform()(key, shape)
    assert 0.99 * limit < np.abs(uniform).max() <= limit
    vector = GlorotUniform()(key, (768,))  # XLNet's query start: one row
    assert np.abs(vector).max() <= np.sqrt(6 / 769)
