"""Windows: what they cover, what they number, and that a batch is a function of (seed, step) alone."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import Batch, InputError
from corpora import VOCAB, corpus, random_corpus
from data.batches import open_stream
from data.config import DataConfig
from data.rows import word_numbers

CONFIG = DataConfig(layout="windows", length=16, batch_size=4)
CORPUS = random_corpus(documents=12, sentences=5, words=7)


def assert_same(a: Batch, b: Batch) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype


def joined(shares: list[Batch]) -> Batch:
    return jax.tree.map(lambda *parts: np.concatenate(parts), *shares)


@pytest.mark.parametrize("layout", ["windows", "streams"])
@pytest.mark.parametrize("held_out", [False, True])
@given(steps=st.permutations(range(12)), cut=st.integers(0, 4))
def test_batch_is_a_function_of_seed_and_step_for_any_call_order_and_process_split(layout, held_out, steps, cut):
    config = dataclasses.replace(CONFIG, layout=layout)
    stream = open_stream(config, CORPUS, VOCAB, seed=3, held_out=held_out)
    again = open_stream(config, CORPUS, VOCAB, seed=3, held_out=held_out)
    for step in steps:
        whole = stream.batch(step)
        assert_same(whole, joined([again.batch(step, slice(0, cut)), again.batch(step, slice(cut, 4))]))


@pytest.mark.parametrize("layout", ["windows", "streams"])
def test_batches_are_int32_and_bool(layout):
    batch = open_stream(dataclasses.replace(CONFIG, layout=layout, isolate=True), CORPUS, VOCAB, seed=0).batch(0)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(batch)} == {"int32", "bool"}
    assert batch.fresh.dtype == bool and batch.tokens.shape == (4, 16)


def test_other_seeds_and_epochs_read_in_another_order():
    stream = open_stream(CONFIG, CORPUS, VOCAB, seed=0)
    first = stream.batch(0).tokens
    assert (first != open_stream(CONFIG, CORPUS, VOCAB, seed=1).batch(0).tokens).any()
    assert (first != stream.batch(stream.steps_per_epoch).tokens).any()


@given(length=st.integers(4, 20), size=st.integers(1, 6), seed=st.integers(0, 99))
def test_an_epoch_of_windows_reads_no_token_twice_and_drops_less_than_a_batch_and_a_window(length, size, seed):
    config = dataclasses.replace(CONFIG, length=length, batch_size=size)
    numbered = dataclasses.replace(CORPUS, tokens=np.arange(len(CORPUS.tokens), dtype=np.uint32))
    stream = open_stream(config, numbered, VOCAB, seed=seed)
    for epoch in range(2):
        read = np.concatenate(
            [stream.batch(epoch * stream.steps_per_epoch + t).tokens.ravel() for t in range(stream.steps_per_epoch)]
        )
        assert len(np.unique(read)) == len(read)
        assert len(read) > len(CORPUS.tokens) - size * length
        assert (np.diff(read.reshape(-1, length)) % len(CORPUS.tokens) == 1).all()  # contiguous, on a ring


@pytest.mark.parametrize("layout", ["windows", "streams"])
@given(length=st.integers(4, 20), size=st.integers(1, 6), documents=st.integers(1, 9))
def test_held_out_reads_every_token_exactly_once_and_pads_the_rest(layout, length, size, documents):
    config = DataConfig(layout=layout, length=length, batch_size=size)
    tokens = random_corpus(documents, 3, 5, seed=documents)
    stream = open_stream(config, tokens, VOCAB, seed=7, held_out=True)
    batch = joined([stream.batch(step) for step in range(stream.steps_per_epoch)])
    real = batch.document > 0
    np.testing.assert_array_equal(np.sort(batch.tokens[real]), np.sort(tokens.tokens))
    assert (batch.tokens[~real] == VOCAB.pad).all() and (batch.word[~real] == -1).all()
    assert (np.diff(real.astype(int), axis=1) <= 0).all()  # padding is at the right
    if layout == "windows":
        np.testing.assert_array_equal(batch.tokens[real], tokens.tokens)
    assert_same(stream.batch(0), stream.batch(stream.steps_per_epoch))
    assert_same(stream.batch(0), open_stream(config, tokens, VOCAB, seed=8, held_out=True).batch(0))


def test_isolated_documents_carry_their_number_and_packed_ones_share_one():
    tokens = corpus([[3, 4], [5], [2, 2, 2]])
    config = DataConfig(length=9, batch_size=2, isolate=True)
    batch = open_stream(config, tokens, VOCAB, seed=0, held_out=True).batch(0)
    assert batch.document.tolist() == [[1] * 7 + [2] * 2, [2] * 3 + [3] * 6]
    packed = open_stream(dataclasses.replace(config, isolate=False), tokens, VOCAB, seed=0, held_out=True).batch(0)
    assert (packed.document == 1).all()


@given(flags=st.lists(st.booleans(), min_size=8, max_size=40), start=st.integers(0, 7), length=st.integers(1, 12))
def test_word_numbers_agree_with_a_scan_and_reversal_keeps_words_whole(flags, start, length):
    word_start = np.array(flags)
    positions = (start + np.arange(length))[None] % len(flags)
    word, number = [], -1
    for i, position in enumerate(positions[0]):
        number += i == 0 or position == 0 or flags[position]
        word.append(number)
    assert word_numbers(word_start, positions).tolist() == [word]
    backwards = word_numbers(word_start, positions[:, ::-1])[0, ::-1]
    np.testing.assert_array_equal(backwards, word[-1] - np.array(word))


def test_word_numbers_skip_padding():
    positions = np.array([[-1, 4, 5, -1, 6, -1]])
    assert word_numbers(np.zeros(8, bool), positions).tolist() == [[-1, 0, 0, -1, 1, -1]]


@pytest.mark.parametrize("layout", ["windows", "streams", "pairs"])
def test_a_corpus_too_small_for_one_batch_is_refused_with_the_sizes(layout):
    config = DataConfig(layout=layout, length=64, batch_size=8)
    with pytest.raises(InputError, match=r"batch_size=8.*length=64.*give more text"):
        open_stream(config, corpus([[9, 9], [9, 9]]), VOCAB, seed=0)


def test_a_token_id_that_the_vocabulary_lacks_is_refused():
    with pytest.raises(InputError, match=r"vocab.size=64.*token id"):
        open_stream(CONFIG, CORPUS, dataclasses.replace(VOCAB, size=64), seed=0)


def test_an_empty_held_out_split_is_refused():
    with pytest.raises(InputError, match=r"data.validation"):
        open_stream(CONFIG, corpus([]), VOCAB, seed=0, held_out=True)
