"""GPT-2 against its paper's formulas and published sizes."""

import math

import jax
import numpy as np
import pytest

import oracle
from cases import MODELS, OBJECTIVES, SIZE, build, given, loud, prepare, read, text
from models import GptConfig, build_model
from models.parameters import initialize
from training.state import num_parameters

GPT = MODELS["gpt"]


@pytest.mark.parametrize("name", ["gpt", "gpt_modern"])
def test_every_layer_equals_the_paper(name):
    config, batch = MODELS[name], text(MODELS[name])
    inputs, _ = prepare(OBJECTIVES["causal"], batch)
    output, log_p = read(config, inputs, capture=("layers",))
    params = jax.tree.map(np.asarray, loud(config))
    for b in range(len(batch.tokens)):
        row, doc = jax.tree.map(lambda x, b=b: np.asarray(x)[b], inputs), batch.document[b]
        layers = oracle.gpt(params, row, config, lambda i, j, doc=doc: doc[i] == doc[j] != 0 and j <= i)
        np.testing.assert_allclose(output.layers[:, b], layers, atol=1e-4)
        logits = oracle.norm(layers[-1], params["norm"], 1e-5) @ params.get("output", params["tokens"])["table"].T
        expected = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        np.testing.assert_allclose(log_p[b], expected, atol=1e-4)


def test_what_is_captured_has_its_shape_and_attention_is_a_mean_of_what_is_visible():
    batch = text(GPT)
    output, _ = read(GPT, prepare(OBJECTIVES["causal"], batch)[0], capture=("layers", "attention"))
    assert output.layers.shape == (4, 4, 12, 16) and output.attention.shape == (3, 4, 2, 12, 12)
    weights = np.asarray(output.attention)
    sums = np.broadcast_to((batch.document > 0)[None, :, None], weights.shape[:-1])
    np.testing.assert_allclose(weights.sum(axis=-1), sums, atol=1e-5)
    assert not np.triu(weights, 1).any()
    assert output.memory is None and build(GPT).init_memory(4) is None


def test_the_release_has_its_number_of_parameters_and_the_table_is_one_leaf():
    config = GptConfig(num_layers=12, num_heads=12, model_dim=768, mlp_dim=3072)
    model = build_model(config, 50_257)
    shapes = jax.eval_shape(lambda: initialize(model, jax.random.key(0)))
    assert num_parameters(shapes) == 124_439_808
    assert sum(50_257 in leaf.shape for leaf in jax.tree.leaves(shapes)) == 1


def test_what_writes_to_the_residual_starts_smaller_by_the_number_of_writers():
    config = GptConfig(num_layers=8, num_heads=2, model_dim=64, mlp_dim=128)
    layers = initialize(build_model(config, 16), jax.random.key(0))["layers"]
    for part, name in (("attention", "out"), ("mlp", "down")):
        np.testing.assert_allclose(layers[part][name]["kernel"].std(), 0.02 / math.sqrt(16), rtol=0.05)
    np.testing.assert_allclose(layers["attention"]["query"]["kernel"].std(), 0.02, rtol=0.05)


def test_the_first_loss_is_that_of_guessing():
    vocab_size, config = 8_192, GptConfig(**{**SIZE, "model_dim": 128, "num_heads": 4})
    tokens = np.random.default_rng(0).integers(0, vocab_size, (16, 32)).astype(np.int32)
    params = initialize(build(config, vocab_size), jax.random.key(0))
    inputs = given(np.arange(32), tokens, np.arange(31))
    log_p = np.asarray(read(config, inputs, vocab_size=vocab_size, params=params)[1])
    loss = -np.take_along_axis(log_p, tokens[:, 1:, None], axis=2).mean()
    assert abs(loss - math.log(vocab_size) - 128 * 0.02**2 / 2) < 4 * 0.02 * math.sqrt(128 / tokens.size)
