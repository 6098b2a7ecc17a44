"""Distances: the shift without a gather, reversed rows, clamping, dropping, reach, segments; biases that are shared."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from batch import InputError
from cases import LENGTH, MODELS, QUICK, SIZE, build, given, loud, read, text
from models import XlnetConfig
from models.parameters import Normal, initialize
from models.relative import RelativeAttention, Shifted, sinusoids
from models.shift import by_key, relative_shift, shift_to
from models.visibility import every_row

XLNET = XlnetConfig(**SIZE)
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(4, 64, (3, LENGTH)).astype(np.int32)
SEGMENTS = RNG.integers(0, 2, (3, LENGTH)).astype(np.int32)
ORDER = np.stack([np.where(RNG.random(LENGTH) < 0.5, 0, 1 + RNG.permutation(LENGTH)) for _ in range(3)])
PREDICT = np.array([1, 4, 10])
KEY = jax.random.key(0)


def both_streams(config=XLNET, tokens=TOKENS, order=ORDER, predict=PREDICT, segments=SEGMENTS, **fields):
    """Content at every position and predictions of the query stream."""
    inputs = given(order, tokens, predict, segments=segments, query_stream=True, **fields)
    output, _ = read(config, inputs, capture=("layers",))
    return np.asarray(output.layers)[-1], np.asarray(output.hidden)


def signs(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


@settings(max_examples=25)
@examples(length=st.integers(1, 7), memory=st.integers(0, 5), heads=st.integers(1, 3), seed=st.integers(0, 99))
def test_the_shift_equals_a_gather_by_distance(length, memory, heads, seed):
    num_keys = memory + length
    x = np.random.default_rng(seed).normal(size=(2, heads, length, num_keys + length)).astype(np.float32)
    shifted = np.asarray(relative_shift(jnp.asarray(x), num_keys))
    distances = list(range(num_keys, -length, -1))  # what the last axis of x stands for
    assert len(distances) == x.shape[3]
    for i in range(length):
        for j in range(num_keys):
            np.testing.assert_array_equal(shifted[:, :, i, j], x[:, :, i, distances.index(memory + i - j)])
    positions = np.random.default_rng(seed).integers(0, length, (2, 4)).astype(np.int32)
    by_row = np.stack([x[b][:, positions[b]] for b in range(2)])
    asked = shift_to(jnp.asarray(by_row), jnp.asarray(positions), length, num_keys)
    np.testing.assert_array_equal(asked, np.stack([shifted[b][:, positions[b]] for b in range(2)]))


@pytest.mark.parametrize("asked", [0, 3])
def test_slices_and_the_reshape_give_the_same_scores_and_gradients(asked, monkeypatch):
    length, num_keys = 5, 8
    rng = np.random.default_rng(asked)
    x = jnp.asarray(rng.normal(size=(2, 3, length + asked, num_keys + length)), jnp.float32)
    predict = jnp.asarray(rng.integers(0, length, (2, 3)), jnp.int32)
    cotangent = jnp.asarray(rng.normal(size=(2, 3, length + asked, num_keys)), jnp.float32)
    found = []
    for backend in ("cpu", "tpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        scores, transpose = jax.vjp(lambda x: by_key(x, predict, length, num_keys), x)
        found.append((scores, *transpose(cotangent)))
    jax.tree.map(np.testing.assert_array_equal, *found)


@pytest.mark.parametrize("clamp", [0, 4])
def test_distances_are_sines_then_cosines_from_the_farthest_to_the_nearest(clamp):
    rows = np.asarray(sinusoids(9, -6, 8, clamp))
    distance = np.arange(9, -7, -1)
    distance = np.clip(distance, -clamp, clamp) if clamp else distance
    angle = distance[:, None] / 10_000 ** (np.arange(0, 8, 2) / 8)
    np.testing.assert_allclose(rows, np.concatenate([np.sin(angle), np.cos(angle)], axis=1), atol=6e-8, rtol=0)


def test_every_distance_of_the_published_sizes_is_its_own():
    rows = np.asarray(sinusoids(384 + 512, -511, 768))  # float32, whatever the precision of products
    assert len(np.unique(rows, axis=0)) == len(rows) == 384 + 2 * 512


def test_reversed_text_with_reversed_direction_is_the_same_text():
    content, hidden = both_streams(direction=signs(1, 1, 1))
    mirrored = {"tokens": TOKENS[:, ::-1], "order": ORDER[:, ::-1], "segments": SEGMENTS[:, ::-1].copy()}
    mirrored["predict"] = LENGTH - 1 - PREDICT
    backward, asked = both_streams(direction=signs(-1, -1, -1), **mirrored)
    np.testing.assert_allclose(backward[:, ::-1], content, atol=2e-4)
    np.testing.assert_allclose(asked, hidden, atol=2e-4)
    wrong, asked = both_streams(direction=signs(1, 1, 1), **mirrored)
    assert np.abs(wrong[:, ::-1] - content).max() > 0.1 and np.abs(asked - hidden).max() > 0.1


def test_no_direction_means_as_written_and_directions_follow_their_rows():
    forward, backward = both_streams(direction=signs(1, 1, 1)), both_streams(direction=signs(-1, -1, -1))
    mixed, shuffled = both_streams(direction=signs(1, -1, -1)), [2, 0, 1]
    for stream in range(2):
        np.testing.assert_allclose(both_streams()[stream], forward[stream], atol=1e-5)
        expected = np.concatenate([forward[stream][:1], backward[stream][1:]])
        np.testing.assert_allclose(mixed[stream], expected, atol=1e-5)
    moved = both_streams(
        tokens=TOKENS[shuffled], order=ORDER[shuffled], segments=SEGMENTS[shuffled], direction=signs(-1, 1, -1)
    )
    for stream in range(2):
        np.testing.assert_allclose(moved[stream], mixed[stream][shuffled], atol=1e-5)


def test_clamping_beyond_every_distance_changes_nothing_and_nearer_does():
    content, _ = both_streams(dataclasses.replace(XLNET, distance_form="shift"))
    np.testing.assert_array_equal(both_streams(dataclasses.replace(XLNET, clamp_length=LENGTH))[0], content)
    assert np.abs(both_streams(dataclasses.replace(XLNET, clamp_length=2))[0] - content).max() > 1e-2


def test_what_lies_beyond_the_clamp_may_change_places():
    config = dataclasses.replace(XLNET, num_layers=1, clamp_length=2)
    swapped = TOKENS.copy()
    swapped[:, [0, 1]] = TOKENS[:, [1, 0]]
    segments = np.zeros_like(SEGMENTS)
    one, two = (both_streams(config, t, order=0, segments=segments)[0] for t in (TOKENS, swapped))
    np.testing.assert_allclose(one[:, 3:], two[:, 3:], atol=1e-5)
    assert np.abs(one[:, 2] - two[:, 2]).max() > 1e-3


def dropped(kind: str, key: jax.Array | None = KEY) -> tuple[np.ndarray, np.ndarray]:
    """The table of distances of a model that drops a quarter, and the numbers from which it is drawn."""
    config = XlnetConfig(**{**SIZE, "dropout_rate": 0.25}, distance_dropout=kind, distance_form="shift")
    inputs = given(ORDER, TOKENS, PREDICT, direction=signs(1, -1, 1))
    form = build(config).distance(inputs, every_row(inputs), 8, key)
    return np.asarray(form.table), np.asarray(sinusoids(8 + LENGTH, 1 - LENGTH, SIZE["model_dim"]))


def test_distances_are_dropped_for_the_batch_for_each_row_or_not_at_all():
    table, whole = dropped("none")
    np.testing.assert_array_equal(table, whole)
    np.testing.assert_array_equal(dropped("row", key=None)[0], whole)
    shared, rows = dropped("shared")[0], dropped("row")[0]
    assert shared.shape == whole.shape and rows.shape == (3, *whole.shape)
    for drawn in (shared, *rows):
        kept = drawn != 0
        np.testing.assert_allclose(drawn[kept], whole[kept] / 0.75, rtol=1e-6)
        assert abs(kept[whole != 0].mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / whole.size)
    for one, other in ((0, 1), (0, 2), (1, 2)):  # as often equal as independent draws are
        alike = ((rows[one] != 0) == (rows[other] != 0))[whole != 0].mean()
        assert abs(alike - (0.75**2 + 0.25**2)) < 4 * np.sqrt(0.625 * 0.375 / whole.size)


def test_a_row_is_scored_by_its_own_table_and_direction():
    attention = RelativeAttention(16, 2, 0.0, initializer=Normal(0.3), precision="float32")
    distance = nnx.merge(nnx.graphdef(attention), initialize(attention, KEY)).distance
    table, query = jnp.asarray(dropped("row")[0]), jnp.asarray(RNG.normal(size=(3, LENGTH + 3, 2, 8)), jnp.float32)
    predict = jnp.asarray(np.tile(PREDICT, (3, 1)), jnp.int32)

    def scores(table, rows, direction):
        form = Shifted(table=table, predict=predict[rows], direction=direction, num_keys=8 + LENGTH)
        return form.scores(query[rows], distance)

    for direction in (None, jnp.asarray(signs(1, -1, -1))):
        every = scores(table, slice(None), direction)
        for b in range(3):
            alone = scores(table[b], slice(b, b + 1), None if direction is None else direction[b : b + 1])
            np.testing.assert_allclose(every[b], alone[0], atol=1e-5)


REACH = XlnetConfig(**SIZE, memory_length=5, empty_memory="masked", same_length=True)


def test_windows_of_the_same_length_equal_one_banded_pass():
    tokens = RNG.integers(4, 64, (2, 3 * LENGTH)).astype(np.int32)
    left_to_right, memory, parts = np.arange(LENGTH), None, []
    for start in range(0, 3 * LENGTH, LENGTH):
        inputs = given(left_to_right, tokens[:, start : start + LENGTH], [0])
        output, _ = read(REACH, inputs, memory, capture=("layers",))
        memory = output.memory
        parts.append(output.layers)
    whole = given(np.arange(3 * LENGTH), tokens, [0])
    banded, _ = read(REACH, whole, capture=("layers", "attention"))
    np.testing.assert_allclose(np.concatenate(parts, axis=2), banded.layers, atol=2e-4)
    i, j = np.arange(3 * LENGTH)[:, None], np.arange(3 * LENGTH)[None]
    band = np.broadcast_to((j <= i) & (i - j <= 5), banded.attention[..., 5:].shape)
    np.testing.assert_array_equal(banded.attention[..., 5:] > 0, band)
    everything = read(dataclasses.replace(REACH, same_length=False), whole, capture=("layers",))[0].layers
    assert np.abs(np.asarray(everything) - np.asarray(banded.layers)).max() > 1e-2


@pytest.mark.parametrize("kind", ["causal", "bidirectional"])
def test_every_query_looks_back_as_far_as_the_memory_is_long(kind):
    config = dataclasses.replace(REACH, empty_memory="zeros")
    order = np.arange(LENGTH) if kind == "causal" else 0
    inputs = given(order, TOKENS, PREDICT, query_stream=True)
    output, _ = read(config, inputs, capture=("attention",))
    seen = (np.asarray(output.attention) > 0).sum(axis=-1)
    after = 0 if kind == "causal" else LENGTH - 1 - np.arange(LENGTH)
    np.testing.assert_array_equal(seen, np.broadcast_to(6 + after, seen.shape))
    if kind == "causal":  # a query row does not see its own token
        assert ((np.asarray(output.query_attention) > 0).sum(axis=-1) == 5).all()


def test_the_same_length_is_that_of_a_memory():
    with pytest.raises(InputError, match=r"model\.same_length=True: .*memory_length"):
        XlnetConfig(**SIZE, same_length=True)


def test_tied_biases_are_one_and_their_gradient_is_the_sum_over_layers():
    tied = dataclasses.replace(MODELS["xlnet_memory"], tied_biases=True)
    own, names = MODELS["xlnet_memory"], ("content_bias", "distance_bias", "segment_bias")
    params = loud(tied)
    assert {name: params["biases"][name].shape for name in names} == dict.fromkeys(names, (2, 8))
    assert not set(names) & set(params["layers"]["attention"]) and "biases" not in loud(own)
    copied = {name: jnp.broadcast_to(params["biases"][name][None], (3, 2, 8)) for name in names}
    attention = {**params["layers"]["attention"], **copied}
    untied = {name: value for name, value in params.items() if name != "biases"}
    untied["layers"] = {**params["layers"], "attention": attention}
    inputs = given(ORDER, TOKENS, PREDICT, segments=SEGMENTS, query_stream=True)

    def gradient(config, params):
        graphdef = nnx.graphdef(build(config))
        loss = lambda p: jnp.sin(nnx.merge(graphdef, p)(inputs).hidden).sum()  # noqa: E731
        return jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)(params)

    (one, shared), (other, layers) = gradient(tied, params), gradient(own, untied)
    np.testing.assert_allclose(one, other, rtol=1e-5)
    for name in names:
        summed = layers["layers"]["attention"][name].sum(axis=0)
        np.testing.assert_allclose(shared["biases"][name], summed, atol=1e-4 * np.abs(summed).max())
        assert np.abs(summed).max() > 1e-2


def test_only_whether_segments_differ_matters():
    content, hidden = both_streams()
    for renamed in (1 - SEGMENTS, 2 - SEGMENTS):
        np.testing.assert_array_equal(both_streams(segments=renamed)[0], content)
        np.testing.assert_array_equal(both_streams(segments=renamed)[1], hidden)
    assert np.abs(both_streams(segments=np.zeros_like(SEGMENTS))[0] - content).max() > 1e-2


def test_the_memory_is_segment_0():
    config = MODELS["xlnet_memory"]
    memory = read(config, given(0, TOKENS, [0]))[0].memory
    asked = lambda s: read(config, given(0, TOKENS, [0], segments=np.full_like(TOKENS, s)), memory)[0].hidden  # noqa: E731
    np.testing.assert_array_equal(asked(1), asked(2))
    assert np.abs(np.asarray(asked(0)) - np.asarray(asked(1))).max() > 1e-2


def test_text_has_a_direction_for_each_row_of_a_relative_model():
    assert set(text(XLNET).direction) == {1, -1} and text(MODELS["bert"]).direction is None
