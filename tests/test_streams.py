"""Streams: rows that continue, cover the text once per epoch, and read backwards where asked."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import InputError
from corpora import VOCAB, random_corpus
from data.batches import open_stream
from data.config import DataConfig

CORPUS = random_corpus(documents=12, sentences=5, words=7)
TOTAL = len(CORPUS.tokens)
NUMBERED = dataclasses.replace(CORPUS, tokens=np.arange(TOTAL, dtype=np.uint32))  # a token names its place


def epoch_of(stream, epoch: int):
    return [stream.batch(epoch * stream.steps_per_epoch + step) for step in range(stream.steps_per_epoch)]


@settings(max_examples=20)
@given(
    length=st.integers(4, 20),
    half=st.integers(1, 3),
    reuse=st.floats(0.1, 1),
    both=st.booleans(),
    seed=st.integers(0, 9),
)
def test_streams_advance_over_every_token_once_per_epoch(length, half, reuse, both, seed):
    stride = max(1, int(reuse * length))
    directions = "both" if both else "forward"
    config = DataConfig(layout="streams", length=length, batch_size=2 * half, directions=directions)
    stream = open_stream(config, NUMBERED, VOCAB, seed=seed, stride=stride)
    rows = half if both else 2 * half
    for epoch in range(2):
        advanced = np.concatenate([batch.tokens[:, :stride] for batch in epoch_of(stream, epoch)], axis=1)
        steps = np.diff(advanced) % TOTAL
        assert (steps[:rows] == 1).all()  # no gap, no overlap
        if both:  # row b + B/2 is row b from its end
            np.testing.assert_array_equal(advanced[rows:], advanced[:rows, ::-1])
        read = advanced[:rows].ravel()
        assert len(np.unique(read)) == len(read) > TOTAL - rows * stride


@settings(max_examples=20)
@given(length=st.integers(4, 20), overlap=st.integers(0, 3), both=st.booleans())
def test_consecutive_windows_overlap_by_length_less_stride(length, overlap, both):
    config = DataConfig(layout="streams", length=length, batch_size=2, directions="both" if both else "forward")
    stream = open_stream(config, NUMBERED, VOCAB, seed=0, stride=length - overlap)
    for batch, following in zip(epoch_of(stream, 0), epoch_of(stream, 0)[1:], strict=False):
        np.testing.assert_array_equal(batch.tokens[:, length - overlap :], following.tokens[:, :overlap])


def test_rows_are_fresh_at_the_first_step_of_an_epoch_only():
    stream = open_stream(DataConfig(layout="streams", length=16, batch_size=4), CORPUS, VOCAB, seed=0)
    fresh = [stream.batch(step).fresh for step in range(2 * stream.steps_per_epoch)]
    assert all((f == (step % stream.steps_per_epoch == 0)).all() for step, f in enumerate(fresh))
    assert (stream.batch(0).tokens != stream.batch(stream.steps_per_epoch).tokens).any()  # another rotation
    assert stream.batch(stream.steps_per_epoch).epoch.tolist() == [1] * 4


def test_examples_of_an_epoch_are_distinct():
    stream = open_stream(
        DataConfig(layout="streams", length=16, batch_size=4, directions="both"), CORPUS, VOCAB, seed=0
    )
    examples = np.concatenate([batch.example for batch in epoch_of(stream, 0)])
    assert len(np.unique(examples)) == len(examples)


def test_direction_is_absent_or_splits_the_batch():
    config = DataConfig(layout="streams", length=16, batch_size=4)
    assert open_stream(config, CORPUS, VOCAB, seed=0).batch(0).direction is None
    both = open_stream(dataclasses.replace(config, directions="both"), CORPUS, VOCAB, seed=0)
    np.testing.assert_array_equal(both.batch(0).direction, [1, 1, -1, -1])
    np.testing.assert_array_equal(both.batch(0, slice(1, 3)).direction, [1, -1])


@given(length=st.integers(4, 20), half=st.integers(1, 3))
def test_held_out_streams_read_every_token_once_in_each_direction(length, half):
    config = DataConfig(layout="streams", length=length, batch_size=2 * half, directions="both")
    stream = open_stream(config, NUMBERED, VOCAB, seed=0, held_out=True)
    batches = epoch_of(stream, 0)
    for rows, sign in ((slice(0, half), 1), (slice(half, None), -1)):
        tokens = np.concatenate([batch.tokens[rows] for batch in batches], axis=1)
        real = np.concatenate([batch.document[rows] for batch in batches], axis=1) > 0
        assert sorted(tokens[real].tolist()) == list(range(TOTAL))
        for row, mask in zip(tokens, real, strict=True):
            assert (np.diff(row[mask]) == sign).all()
            assert (np.diff(mask.astype(int)) <= 0).all()  # padding only after the text


@given(stride=st.integers(1, 16))
def test_held_out_streams_advance_over_every_token_once_at_any_stride(stride):
    config = DataConfig(layout="streams", length=16, batch_size=4)
    stream = open_stream(config, NUMBERED, VOCAB, seed=0, stride=stride, held_out=True)
    parts = [b.tokens[:, :stride][b.document[:, :stride] > 0] for b in epoch_of(stream, 0)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(TOTAL))


def test_reversed_rows_keep_words_whole():
    config = DataConfig(layout="streams", length=TOTAL, batch_size=2, directions="both")
    batch = open_stream(config, NUMBERED, VOCAB, seed=0, held_out=True).batch(0)
    forward, backward = batch.word
    np.testing.assert_array_equal(backward[::-1], forward[-1] - forward)


@pytest.mark.parametrize("stride", [0, 17])
def test_a_stride_outside_the_window_is_refused(stride):
    with pytest.raises(InputError, match=f"reuse={stride}"):
        open_stream(DataConfig(layout="streams", length=16, batch_size=4), CORPUS, VOCAB, seed=0, stride=stride)
