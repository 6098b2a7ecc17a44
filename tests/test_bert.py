"""BERT against its paper's formulas and published sizes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import oracle
from cases import MODELS, OBJECTIVES, SIZE, VOCAB, build, given, loud, prepare, read, text
from models import BertConfig, build_model
from models.layers import ACTIVATIONS, LayerNorm
from models.parameters import initialize
from training.state import num_parameters

BERT = MODELS["bert"]


def test_every_layer_equals_the_paper():
    batch = text(BERT)
    inputs, _ = prepare(OBJECTIVES["masked"], batch)
    output, _ = read(BERT, inputs, capture=("layers",))
    for b in range(len(batch.tokens)):
        row, doc = jax.tree.map(lambda x, b=b: np.asarray(x)[b], inputs), batch.document[b]
        layers = oracle.bert(
            jax.tree.map(np.asarray, loud(BERT)), row, BERT, lambda i, j, doc=doc: doc[i] == doc[j] != 0
        )
        np.testing.assert_allclose(output.layers[:, b], layers, atol=1e-4)
        np.testing.assert_allclose(output.hidden[b], layers[-1][row.predict], atol=1e-4)
        pooler = jax.tree.map(np.asarray, loud(BERT)["pair_head"]["pooler"])
        summary = layers[-1][row.summary]
        np.testing.assert_allclose(output.pooled[b], np.tanh(summary @ pooler["kernel"] + pooler["bias"]), atol=1e-4)


def test_the_head_transforms_normalizes_and_scores_against_the_table():
    hidden = np.random.default_rng(0).normal(size=(1, 2, 16)).astype(np.float32)
    params = jax.tree.map(np.asarray, loud(BERT))
    head = params["head"]
    x = oracle.ACTIVATIONS["gelu"](hidden @ head["transform"]["kernel"] + head["transform"]["bias"])
    expected = oracle.norm(x, head["norm"], 1e-12) @ params["tokens"]["table"].T + head["bias"]
    logits = nnx.merge(nnx.graphdef(build(BERT)), loud(BERT)).logits(jnp.asarray(hidden))
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_segments_matter():
    tokens = np.arange(4, 10)[None]
    one, two = (read(BERT, given(0, tokens, [2], segments=np.full((1, 6), s, np.int32)))[0].hidden for s in (0, 1))
    assert np.abs(np.asarray(one) - np.asarray(two)).max() > 1e-2


def test_what_is_captured_has_its_shape_and_attention_is_a_mean_of_what_is_visible():
    batch = text(BERT)
    output, _ = read(BERT, prepare(OBJECTIVES["masked"], batch)[0], capture=("layers", "attention"))
    assert output.layers.shape == (4, 4, 12, 16) and output.attention.shape == (3, 4, 2, 12, 12)
    visible = (batch.document[:, :, None] == batch.document[:, None]) & (batch.document[:, None] > 0)
    weights = np.asarray(output.attention)
    np.testing.assert_array_equal(weights > 0, np.broadcast_to(visible[None, :, None], weights.shape))
    sums = np.broadcast_to((batch.document > 0)[None, :, None], weights.shape[:-1])
    np.testing.assert_allclose(weights.sum(axis=-1), sums, atol=1e-5)
    assert output.memory is None and build(BERT).init_memory(4) is None


def test_activations_and_norms_have_the_numbers_of_the_release():
    x = jnp.array([-3.0, -1.0, 0.5, 2.0])
    exact = [-0.00404951, -0.15865525, 0.34573123, 1.95449974]
    tanh = [-0.00363739, -0.15880801, 0.34571401, 1.95459769]
    np.testing.assert_allclose(ACTIVATIONS["gelu"](x), exact, atol=1e-6)
    np.testing.assert_allclose(ACTIVATIONS["gelu_tanh"](x), tanh, atol=1e-6)
    norm = nnx.merge(nnx.graphdef(LayerNorm(2, 0.5)), {"scale": jnp.array([2.0, 1.0]), "bias": jnp.array([0.0, 1.0])})
    np.testing.assert_allclose(
        norm(jnp.array([[1.0, 3.0]])), [[-2 / math.sqrt(1.5), 1 + 1 / math.sqrt(1.5)]], atol=1e-6
    )


def test_base_has_the_published_number_of_parameters_and_the_table_is_one_leaf():
    config = BertConfig(num_layers=12, num_heads=12, model_dim=768, mlp_dim=3072)
    model = build_model(config, 30_522)
    shapes = jax.eval_shape(lambda: initialize(model, jax.random.key(0)))
    assert num_parameters(shapes) == 110_106_428
    assert [leaf.shape for leaf in jax.tree.leaves(shapes) if 30_522 in leaf.shape and 768 in leaf.shape] == [
        (30_522, 768)
    ]


def test_the_first_loss_is_that_of_guessing():
    vocab_size, config = 8_192, BertConfig(**{**SIZE, "model_dim": 128, "num_heads": 4})
    tokens = np.random.default_rng(0).integers(0, vocab_size, (16, 32)).astype(np.int32)
    params = initialize(build(config, vocab_size), jax.random.key(0))
    log_p = np.asarray(read(config, given(0, tokens * 0, np.arange(32)), vocab_size=vocab_size, params=params)[1])
    loss = -np.take_along_axis(log_p, tokens[:, :, None], axis=2).mean()
    variance = 0.02**2 * 0.774  # of a normal cut at two deviations
    assert abs(loss - math.log(vocab_size) - 128 * variance / 2) < 4 * math.sqrt(128 * variance / tokens.size)


def test_the_vocabulary_of_the_cases_has_room_for_every_position():
    assert VOCAB.size >= 4 * 12
