"""Distances: the shift without a gather, reversed rows, clamping, padding, segments."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from cases import LENGTH, MODELS, SIZE, given, read, text
from models import XlnetConfig
from models.relative import relative_shift, shift_to, sinusoids

XLNET = XlnetConfig(**SIZE)
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(4, 64, (3, LENGTH)).astype(np.int32)
SEGMENTS = RNG.integers(0, 2, (3, LENGTH)).astype(np.int32)
ORDER = np.stack([np.where(RNG.random(LENGTH) < 0.5, 0, 1 + RNG.permutation(LENGTH)) for _ in range(3)])
PREDICT = np.array([1, 4, 10])


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


@pytest.mark.parametrize("clamp", [0, 4])
def test_distances_are_sines_then_cosines_from_the_farthest_to_the_nearest(clamp):
    rows = np.asarray(sinusoids(9, -6, 8, clamp))
    distance = np.arange(9, -7, -1)
    distance = np.clip(distance, -clamp, clamp) if clamp else distance
    angle = distance[:, None] / 10_000 ** (np.arange(0, 8, 2) / 8)
    np.testing.assert_allclose(rows, np.concatenate([np.sin(angle), np.cos(angle)], axis=1), atol=1e-6)


def test_every_distance_of_the_published_sizes_is_its_own():
    rows = np.asarray(sinusoids(384 + 512, -511, 768))
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
    content, _ = both_streams()
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
