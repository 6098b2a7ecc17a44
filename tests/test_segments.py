"""XLNet's rows: text that continues from batch to batch, then A and B; in both directions (Yang et al. 2019, 2.5)."""

import dataclasses
import itertools
import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import Batch, InputError
from corpora import VOCAB, corpus, random_corpus
from data.batches import open_stream
from data.config import DataConfig
from data.segments import Reading, split_segments

CONFIG = DataConfig(layout="pairs", pair_format="xlnet", length=32, batch_size=8, directions="both")
STRIDE, BUDGET = 16, 32 - 16 - 3
CORPUS = random_corpus(documents=60, sentences=8, words=6)
TOTAL = CORPUS.num_tokens
NUMBERED = dataclasses.replace(CORPUS, tokens=np.arange(10, TOTAL + 10, dtype=np.uint32))  # 10 + place


def batches(epoch: int = 0, held_out: bool = False, config: DataConfig = CONFIG) -> list[Batch]:
    stream = open_stream(config, NUMBERED, VOCAB, seed=0, stride=STRIDE, held_out=held_out)
    return [stream.batch(epoch * stream.steps_per_epoch + step) for step in range(stream.steps_per_epoch)]


def parts(row: np.ndarray, stride: int = STRIDE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The places in the corpus of the continued text, of A and of B."""
    first, last = np.flatnonzero(row == VOCAB.sep)
    assert last == len(row) - 2 and row[-1] == VOCAB.cls and (row == VOCAB.cls).sum() == 1
    return tuple(part.astype(int) - 10 for part in (row[:stride], row[stride:first], row[first + 1 : last]))


def begins_sentence(place: int, direction: int) -> bool:
    """Whether a sentence begins at this place for a reader of this direction."""
    return bool(np.isin(place if direction > 0 else place + 1, CORPUS.sentences))


@given(length=st.integers(12, 40), half=st.integers(1, 3), both=st.booleans(), seed=st.integers(0, 9), data=st.data())
@settings(max_examples=10)
def test_continued_texts_make_up_the_corpus_or_its_reversal_without_gap_or_overlap(length, half, both, seed, data):
    stride = data.draw(st.integers(4, length - 5))
    directions = "both" if both else "forward"
    config = dataclasses.replace(CONFIG, length=length, batch_size=2 * half, directions=directions)
    stream = open_stream(config, NUMBERED, VOCAB, seed=seed, stride=stride)
    rows = half if both else 2 * half
    steps = stream.steps_per_epoch
    read = np.concatenate([stream.batch(steps + step).tokens[:, :stride] for step in range(steps)], axis=1) - 10
    assert (np.diff(read[:rows]) % TOTAL == 1).all()
    assert len(np.unique(read[:rows])) == read[:rows].size > TOTAL - rows * stride
    if both:
        np.testing.assert_array_equal(read[rows:], read[:rows, ::-1])


def test_a_is_the_beginning_of_what_the_next_step_continues_with():
    epoch = batches()
    for batch, following in itertools.pairwise(epoch):
        for row, continued in zip(batch.tokens, following.tokens, strict=True):
            a = parts(row)[1]
            np.testing.assert_array_equal(a, continued[: len(a)] - 10)


@pytest.mark.parametrize("held_out", [False, True])
def test_a_row_is_text_a_sep_b_sep_cls_with_its_segments_and_lengths(held_out):
    for batch in batches(held_out=held_out):
        for row, direction, segments, word in zip(
            batch.tokens, batch.direction, batch.segments, batch.word, strict=True
        ):
            _, a, b = parts(row)
            assert len(a) >= 1 and len(b) >= 1 and len(a) + len(b) == BUDGET
            assert segments.tolist() == [0] * (STRIDE + len(a) + 1) + [1] * (len(b) + 1) + [2]
            for text in (a, b):
                assert (np.diff(text * direction) % TOTAL == 1).all()
            assert np.flatnonzero(word < 0).tolist() == [STRIDE + len(a), 30, 31]
        assert (batch.document == 1).all() and (batch.summary == 31).all()


def test_b_follows_at_a_sentence_boundary_or_is_drawn_from_a_sentence_start_of_the_row():
    labels, seen = [], 0
    for batch in batches() + batches(epoch=1):
        for row, direction, label in zip(batch.tokens, batch.direction, batch.task.label, strict=True):
            _, a, b = parts(row)
            if label == 0:  # A loses its end only where it is the longer one
                gap = (b[0] - a[-1]) * direction % TOTAL - 1
                assert gap == 0 or (len(a) >= len(b) and gap < BUDGET)
            assert begins_sentence(b[0], direction)
            labels.append(label)
            seen += 1
    assert seen > 200


def released_split(sentence: list[int], begin: int, budget: int, uniforms: np.ndarray) -> list[int]:
    """`_split_a_and_b` of the XLNet release on the sentence number of each place of a row."""
    coin, where_a, where_b = uniforms
    cuts, end = [], begin + 1
    while sentence[end] == sentence[end - 1] or end - begin < budget:
        if sentence[end] != sentence[end - 1]:
            cuts.append(end)
        end += 1
    a_end = cuts[int(where_a * len(cuts))] if cuts else end
    label = int(coin < 0.5 or not cuts)
    b_begin, b_end = a_end, end
    if label:
        b_length = max(1, budget - (a_end - begin))
        b_begin = int(where_b * (len(sentence) - b_length))
        b_end = b_begin + b_length
        while b_begin > 0 and sentence[b_begin] == sentence[b_begin - 1]:
            b_begin -= 1
        while b_end < len(sentence) and sentence[b_end] == sentence[b_end - 1]:
            b_end += 1
    left = [a_end - begin, b_end - b_begin]
    while sum(left) > budget:
        left[0 if left[0] > left[1] else 1] -= 1
    return [left[0], b_begin, left[1], label]


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("budget", [4, 13, 60])
def test_the_split_is_that_of_the_release(direction, budget):
    first = 0 if direction > 0 else TOTAL - 1
    reading = Reading(CORPUS, np.full((40, 1), first), np.full((40, 1), direction))
    sentence = np.repeat(np.arange(len(CORPUS.sentences) - 1), np.diff(CORPUS.sentences))[::direction].tolist()
    uniforms = np.random.default_rng(budget).random((40, 3))
    for begin in range(0, TOTAL - 300, 97):
        split = split_segments(reading, begin, budget, TOTAL, uniforms)
        ours = np.concatenate([split.a_length, split.b_begin, split.b_length, split.label], axis=1)
        assert ours.tolist() == [released_split(sentence, begin, budget, row) for row in uniforms]


def test_labels_are_one_half_where_there_is_a_boundary_and_random_where_there_is_none():
    tokens = corpus([[3] * 40] * 60)
    config = dataclasses.replace(CONFIG, directions="forward")
    stream = open_stream(config, tokens, VOCAB, seed=0, stride=STRIDE)
    labels = np.concatenate([stream.batch(step).task.label for step in range(2 * stream.steps_per_epoch)])
    assert abs(labels.sum() - len(labels) / 2) <= 4 * math.sqrt(len(labels) / 4)
    endless = open_stream(config, corpus([[4000]]), VOCAB, seed=0, stride=STRIDE)
    assert all((endless.batch(step).task.label == 1).all() for step in range(20))


def test_a_random_b_comes_from_its_own_row():
    stream = open_stream(CONFIG, NUMBERED, VOCAB, seed=0, stride=STRIDE, held_out=True)
    longest = int(np.diff(CORPUS.sentences).max())
    length = TOTAL // 4
    for step in range(stream.steps_per_epoch):
        batch = stream.batch(step)
        for row, tokens in enumerate(batch.tokens):
            b = parts(tokens)[2]
            start = row % 4 * length
            assert start - longest < b.min() and b.max() < start + length + longest


def test_backward_rows_are_the_forward_rows_from_their_end():
    for batch in batches():
        assert batch.direction.tolist() == [1] * 4 + [-1] * 4
    forward = np.concatenate([batch.tokens[:4, :STRIDE] for batch in batches()], axis=1)
    backward = np.concatenate([batch.tokens[4:, :STRIDE] for batch in batches()], axis=1)
    np.testing.assert_array_equal(backward, forward[:, ::-1])
    assert open_stream(
        dataclasses.replace(CONFIG, directions="forward"), CORPUS, VOCAB, seed=0, stride=STRIDE
    ).batch(0).direction is None  # fmt: skip


@settings(max_examples=20)
@given(step=st.integers(0, 200), cut=st.integers(0, 8), held_out=st.booleans())
def test_a_batch_is_a_function_of_seed_and_step_for_any_process_split(step, cut, held_out):
    streams = [open_stream(CONFIG, CORPUS, VOCAB, seed=5, stride=STRIDE, held_out=held_out) for _ in range(2)]
    streams[1].batch(0)
    shares = streams[1].batch(step, slice(0, cut)), streams[1].batch(step, slice(cut, None))
    joined = jax.tree.map(lambda *arrays: np.concatenate(arrays), *shares)
    jax.tree.map(np.testing.assert_array_equal, streams[0].batch(step), joined)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(joined)} == {"int32", "bool"}


def test_rows_are_fresh_at_the_first_step_of_an_epoch_only():
    for epoch in (0, 1):
        assert [batch.fresh.all() for batch in batches(epoch)] == [True] + [False] * (len(batches()) - 1)
        assert not any(batch.fresh.any() for batch in batches(epoch)[1:])


def test_a_held_out_split_smaller_than_a_batch_fills_the_rows_it_can():
    config = dataclasses.replace(CONFIG, directions="forward")
    stream = open_stream(config, corpus([[5] * 14]), VOCAB, seed=0, stride=STRIDE, held_out=True)
    batch = stream.batch(0)
    assert (batch.document[:2] == 1).all() and (batch.document[2:] == 0).all()
    assert (batch.tokens[2:] == VOCAB.pad).all() and (batch.word[2:] == -1).all() and (batch.segments[2:] == 0).all()
    with pytest.raises(InputError, match="do not fill one window"):
        open_stream(config, corpus([[5] * 6]), VOCAB, seed=0, stride=STRIDE, held_out=True)


def test_a_reuse_that_leaves_no_room_for_two_segments_is_refused():
    with pytest.raises(InputError, match=r"objective.reuse=28.*at most 27"):
        open_stream(CONFIG, CORPUS, VOCAB, seed=0, stride=28)
