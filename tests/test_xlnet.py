"""XLNet: both streams against the paper's formulas, published sizes, and what keeps the streams apart."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import oracle
from batch import VOID
from cases import CASES, MODELS, OBJECTIVES, QUICK, SIZE, VOCAB, build, given, loud, prepare, read, some_memory, text
from models import XlnetConfig, build_model
from models.parameters import initialize
from training.state import num_parameters

NAMES = [name for name in CASES if "xlnet" in name and name.rsplit("-")[1] in ("causal", "masked", "permutation")]


def row_of(inputs, b: int):
    """One row of inputs, with the sign of its distances."""
    row = jax.tree.map(lambda x: np.asarray(x)[b], inputs)
    return row.replace(direction=1 if row.direction is None else int(row.direction))


@pytest.mark.parametrize("clamp_length", [0, 3])
@pytest.mark.parametrize("name", NAMES)
def test_both_streams_equal_the_paper_computed_for_every_position(name, clamp_length):
    case = CASES[name]
    config = dataclasses.replace(case.model, clamp_length=clamp_length)
    batch = text(config)
    inputs, targets = prepare(case.objective, batch)
    memory = some_memory(config, batch)
    output, _ = read(config, inputs, memory, capture=("layers",))
    params = jax.tree.map(np.asarray, loud(config))
    for b in range(len(batch.tokens)):
        row, doc = row_of(inputs, b), batch.document[b]
        past = np.zeros((config.num_layers, 0, config.model_dim)) if memory is None else np.asarray(memory.hidden)[:, b]
        together = lambda i, j, doc=doc: doc[i] == doc[j] != 0  # noqa: E731
        layers, g = oracle.xlnet(
            params,
            row,
            config,
            past,
            lambda i, j, b=b, doc=doc: memory.valid[b, j] and memory.document[b, j] in (0, doc[i]),
            lambda i, j, row=row, together=together: together(i, j) and row.order[j] <= row.order[i],
            lambda i, j, row=row, together=together: together(i, j) and row.order[j] < row.order[i],
        )
        np.testing.assert_allclose(output.layers[:, b], layers, atol=2e-4)
        rows = (g if inputs.query_stream else layers[-1])[row.predict]
        rows = oracle.norm(rows, params["norm"], 1e-12) if "norm" in params else rows
        used = np.asarray(targets.weights)[b] > 0
        np.testing.assert_allclose(np.asarray(output.hidden)[b, used], rows[used], atol=2e-4)


@pytest.mark.parametrize("model", ["xlnet", "xlnet_memory"])
def test_the_query_stream_leaves_content_and_memory_as_they_are(model):
    config, batch = MODELS[model], text(MODELS[model])
    inputs, _ = prepare(OBJECTIVES["permutation"], batch)
    memory = some_memory(config, batch)
    with_queries, _ = read(config, inputs, memory, capture=("layers", "attention"))
    alone = inputs.replace(query_stream=False, blind=jnp.zeros_like(inputs.blind))
    without, _ = read(config, alone, memory, capture=("layers", "attention"))
    np.testing.assert_allclose(with_queries.layers, without.layers, atol=1e-5)
    np.testing.assert_allclose(with_queries.attention, without.attention, atol=1e-5)
    if memory is not None:
        np.testing.assert_allclose(with_queries.memory.hidden, without.memory.hidden, atol=1e-5)


def test_no_content_depends_on_where_the_query_starts():
    config = MODELS["xlnet_memory"]
    inputs, _ = prepare(OBJECTIVES["permutation"], text(config))
    graphdef = nnx.graphdef(build(config))

    def streams(query):
        output = nnx.merge(graphdef, {**loud(config), "query": query})(inputs, None, capture=("layers",))
        return jnp.sin(output.layers).sum(), jnp.sin(output.hidden).sum()

    by_content, by_prediction = jax.jit(jax.jacrev(streams), compiler_options=QUICK)(loud(config)["query"])
    assert not by_content.any() and by_prediction.all()


def test_a_prediction_depends_neither_on_the_others_nor_on_its_slot():
    config = MODELS["xlnet"]
    inputs, _ = prepare(OBJECTIVES["permutation"], text(config))
    hidden = np.asarray(read(config, inputs)[0].hidden)
    shuffled = np.array([2, 0, 3, 1])
    permuted = read(config, inputs.replace(predict=inputs.predict[:, shuffled]))[0].hidden
    np.testing.assert_allclose(permuted, hidden[:, shuffled], atol=1e-5)
    for p in range(4):  # the same slot thrice, and another prediction
        others = inputs.replace(predict=jnp.full_like(inputs.predict, p).at[:, 1].set(inputs.predict[:, p]))
        np.testing.assert_allclose(read(config, others)[0].hidden[:, 1], hidden[:, p], atol=1e-5)


def test_the_content_stream_sees_its_own_token_and_the_query_stream_does_not():
    config, tokens = MODELS["xlnet"], np.arange(4, 10)[None]
    order = np.array([[0, 3, 0, 2, 1, 0]])
    inputs = given(order, tokens, [1, 3, 4], query_stream=True)
    before, _ = read(config, inputs, capture=("layers",))
    changed = inputs.replace(tokens=inputs.tokens.at[0, 3].set(40))  # a target, second in the order
    after, _ = read(config, changed, capture=("layers",))
    moved = (np.asarray(before.hidden) != np.asarray(after.hidden)).any(axis=-1)[0]
    np.testing.assert_array_equal(moved, [True, False, False])
    content = (np.asarray(before.layers)[-1] != np.asarray(after.layers)[-1]).any(axis=-1)[0]
    np.testing.assert_array_equal(content, [False, True, False, True, False, False])


def test_a_row_that_is_not_blind_is_predicted_from_its_content():
    config = MODELS["xlnet"]
    inputs, _ = prepare(OBJECTIVES["permutation"], text(config))
    seeing = inputs.replace(blind=jnp.array([True, False, True, False]))
    hidden = np.asarray(read(config, seeing, capture=("layers",))[0].hidden)
    queries, content = (read(config, i)[0].hidden for i in (inputs, inputs.replace(query_stream=False)))
    np.testing.assert_allclose(hidden, np.where(np.array([1, 0, 1, 0])[:, None, None], queries, content), atol=1e-5)


def test_what_is_captured_has_its_shape_and_attention_is_a_mean_of_what_is_visible():
    config, batch = MODELS["xlnet_memory"], text(MODELS["xlnet_memory"])
    inputs, _ = prepare(OBJECTIVES["permutation"], batch)
    output, _ = read(config, inputs, capture=("layers", "attention"))
    assert output.layers.shape == (4, 4, 12, 16)
    assert output.attention.shape == (3, 4, 2, 12, 20) and output.query_attention.shape == (3, 4, 2, 4, 20)
    np.testing.assert_allclose(
        output.attention.sum(axis=-1)[:, :, 0], np.where(batch.document > 0, 1.0, 0.0)[None].repeat(3, 0), atol=1e-5
    )
    alone = given(np.arange(2), np.array([[5, 6]]), [0, 1], query_stream=True)  # the first query sees nothing
    weights = read(MODELS["xlnet"], alone, capture=("attention",))[0].query_attention
    np.testing.assert_allclose(weights.sum(axis=-1)[:, 0, 0], [[0, 1]] * 3, atol=1e-6)
    assert read(config, inputs)[0].attention is None


def test_nothing_is_nan_where_all_is_padding():
    inputs = given(VOID, np.full((1, 5), VOCAB.pad), [0, 3], query_stream=True, document=np.zeros((1, 5), np.int32))
    for model in ("xlnet", "xlnet_memory"):
        output, log_p = read(MODELS[model], inputs)
        assert np.isfinite(output.hidden).all() and np.isfinite(log_p).all()


@pytest.mark.parametrize(("layers", "dim", "heads", "count"), [(12, 768, 12, 116_750_336), (24, 1024, 16, 360_300_800)])
def test_published_sizes_have_the_published_number_of_parameters(layers, dim, heads, count):
    config = XlnetConfig(num_layers=layers, num_heads=heads, model_dim=dim, mlp_dim=4 * dim)
    model = build_model(config, 32_000)
    assert num_parameters(jax.eval_shape(lambda: initialize(model, jax.random.key(0)))) == count


def test_the_first_loss_is_that_of_guessing():
    vocab_size, config = 8_192, XlnetConfig(**{**SIZE, "model_dim": 128, "num_heads": 4})
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, vocab_size, (16, 32)).astype(np.int32)
    order = np.where(np.arange(32) < 16, 0, np.arange(32))
    inputs = given(order, tokens, np.arange(16, 32), query_stream=True)
    params = initialize(build(config, vocab_size), jax.random.key(0))
    log_p = np.asarray(read(config, inputs, vocab_size=vocab_size, params=params)[1])
    loss = -np.take_along_axis(log_p, tokens[:, 16:, None], axis=2).mean()
    expected, spread = math.log(vocab_size) + 128 * 0.02**2 / 2, 0.02 * math.sqrt(128)
    assert abs(loss - expected) < 4 * spread / math.sqrt(16 * 16)
