"""Pairs of BERT: the algorithm of the release, its labels and lengths, and the batches made of them."""

import dataclasses
import itertools
import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import InputError
from corpora import VOCAB, corpus, random_corpus
from data.batches import open_stream
from data.config import DataConfig
from data.pairs import Pair, build_pairs, documents_of, fitted

CONFIG = DataConfig(layout="pairs", length=32, batch_size=8)
CORPUS = random_corpus(documents=60, sentences=8, words=9)
SMALL = random_corpus(documents=12, sentences=8, words=9)
NUMBERED = dataclasses.replace(CORPUS, tokens=np.arange(10, CORPUS.num_tokens + 10, dtype=np.uint32))  # 10 + place


class Coin(np.random.Generator):
    """A generator whose `random` always lands on one side."""

    side = 0.0

    def random(self, *_, **__):
        return self.side


def coin(side: float) -> Coin:
    rng = Coin(np.random.PCG64(0))
    rng.side = side
    return rng


def pairs_of(config: DataConfig, tokens=CORPUS, rng=None) -> list[Pair]:
    return list(build_pairs(config, documents_of(tokens, ended=True), rng or np.random.default_rng(0)))


def document_of(tokens, position):
    return np.searchsorted(tokens.documents, position, side="right")


def within(count: int, trials: int, share: float) -> bool:
    return abs(count - trials * share) <= 4 * math.sqrt(trials * share * (1 - share))


def released_pairs(tokens, length: int, short_rate: float, rng: np.random.Generator) -> list[tuple[list, list, int]]:
    """`create_instances_from_document` of the BERT release over lists, up to truncation from both ends."""
    documents = []
    for first, stop in zip(tokens.documents[:-1], tokens.documents[1:], strict=True):
        bounds = [s for s in tokens.sentences if first <= s < stop] + [stop - 1]  # less the `end` token
        documents.append([list(range(a, b)) for a, b in itertools.pairwise(bounds) if b > a])
    instances = []
    for d, document in enumerate(documents):
        budget = length - 3
        target = int(rng.integers(2, budget + 1)) if rng.random() < short_rate else budget
        chunk, size, i = [], 0, 0
        while i < len(document):
            chunk.append(document[i])
            size += len(document[i])
            if i == len(document) - 1 or size >= target:
                a_end = int(rng.integers(1, len(chunk))) if len(chunk) >= 2 else 1
                a, b, label = list(itertools.chain(*chunk[:a_end])), [], 0
                if len(chunk) == 1 or rng.random() < 0.5:
                    label = 1
                    other = int(rng.integers(len(documents) - 1))
                    other += other >= d
                    for sentence in documents[other][int(rng.integers(len(documents[other]))) :]:
                        b += sentence
                        if len(b) >= target - len(a):
                            break
                    i -= len(chunk) - a_end
                else:
                    b = list(itertools.chain(*chunk[a_end:]))
                front = [0, 0]
                left = [len(a), len(b)]
                while sum(left) > budget:
                    left[0 if left[0] > left[1] else 1] -= 1
                for side, text in enumerate((a, b)):
                    dropped = len(text) - left[side]
                    front[side] = int(rng.binomial(dropped, 0.5)) if dropped else 0
                instances.append((a[front[0] :][: left[0]], b[front[1] :][: left[1]], label))
                chunk, size = [], 0
            i += 1
    return instances


@pytest.mark.parametrize("length", [8, 32, 200])
@pytest.mark.parametrize("shape", [(60, 8, 9), (80, 2, 30)])
def test_reference_pairs_are_those_of_the_release(length, shape):
    tokens = random_corpus(*shape)
    ours = pairs_of(dataclasses.replace(CONFIG, length=length), tokens)
    theirs = released_pairs(tokens, length, 0.1, np.random.default_rng(0))
    assert [(list(range(p[0], p[1])), list(range(p[2], p[3])), p.label) for p in ours] == theirs


@given(a=st.integers(1, 60), b=st.integers(1, 60), budget=st.integers(2, 50))
def test_truncation_drops_from_the_longer_one_until_both_fit(a, b, budget):
    left = [a, b]
    while sum(left) > budget:
        left[0 if left[0] > left[1] else 1] -= 1
    assert fitted(np.array([a, b]), budget).tolist() == left


def test_truncation_drops_from_both_ends_alike():
    tokens = corpus([[300, 300]] * 200)
    front = total = 0
    for pair in pairs_of(dataclasses.replace(CONFIG, pair_task="order"), tokens):
        for start, stop in ((pair.a_start, pair.a_stop), (pair.b_start, pair.b_stop)):
            sentence = np.searchsorted(tokens.sentences, start, side="right")
            text_stop = tokens.sentences[sentence] - (sentence % 2 == 0)  # every second sentence holds `end`
            front += start - tokens.sentences[sentence - 1]
            total += text_stop - tokens.sentences[sentence - 1] - (stop - start)
    assert within(front, total, 0.5)


@given(sentences=st.lists(st.lists(st.integers(2, 40), min_size=1, max_size=6), min_size=2, max_size=6))
@pytest.mark.parametrize("task, balance", [("next", "reference"), ("next", "balanced"), ("order", "reference")])
def test_both_texts_are_never_empty_fit_and_stay_within_a_document(sentences, task, balance):
    tokens = corpus(sentences)
    for pair in pairs_of(dataclasses.replace(CONFIG, pair_task=task, pair_balance=balance), tokens):
        a, b = pair.a_stop - pair.a_start, pair.b_stop - pair.b_start
        assert a >= 1 and b >= 1 and a + b <= CONFIG.length - 3
        places = [pair.a_start, pair.a_stop - 1, pair.b_start, pair.b_stop - 1]
        documents = [int(document_of(tokens, place)) for place in places]
        assert documents[0] == documents[1] and documents[2] == documents[3]
        assert (documents[0] != documents[2]) == (task == "next" and pair.label == 1)
        assert not {pair.a_stop, pair.b_stop} & set(tokens.documents.tolist())  # `end` is no part of a pair


def test_a_next_pair_is_a_contiguous_text_before_truncation():
    config = dataclasses.replace(CONFIG, length=10_000, short_rate=0.0)
    for pair in pairs_of(config):
        if pair.label == 0:
            assert pair.a_stop == pair.b_start and pair.b_stop + 1 in CORPUS.documents


def test_put_back_leaves_no_sentence_out_when_every_b_is_random():
    config = dataclasses.replace(CONFIG, length=400)
    pairs = pairs_of(config, rng=coin(0.1))  # below one half: random; not below short_rate
    assert {pair.label for pair in pairs} == {1}
    covered = np.zeros(CORPUS.num_tokens + 1, int)
    for pair in pairs:
        covered[pair.a_start : pair.a_stop] += 1
    text = np.ones(CORPUS.num_tokens, bool)
    text[CORPUS.documents[1:] - 1] = False
    assert (covered[:-1] == text).all()


def test_chunks_cover_each_document_once_when_no_b_is_random():
    tokens = corpus([[5, 5, 5, 5, 5, 6]] * 4)  # chunks of 10 tokens, always two sentences
    pairs = pairs_of(dataclasses.replace(CONFIG, length=13), tokens, rng=coin(0.9))
    assert {pair.label for pair in pairs} == {0}
    read = np.concatenate([np.r_[pair.a_start : pair.a_stop, pair.b_start : pair.b_stop] for pair in pairs])
    text = np.setdiff1d(np.arange(tokens.num_tokens), tokens.documents[1:] - 1)
    np.testing.assert_array_equal(read, text)


@pytest.mark.parametrize("task, balance", [("next", "balanced"), ("order", "reference")])
@pytest.mark.parametrize("words", [9, 40])
def test_labels_are_one_half_where_balanced_and_for_sentence_order(task, balance, words):
    config = dataclasses.replace(CONFIG, pair_task=task, pair_balance=balance)
    labels = [pair.label for pair in pairs_of(config, random_corpus(300, 8, words))]
    assert len(labels) > 500 and within(sum(labels), len(labels), 0.5)


def test_reference_labels_are_one_half_plus_half_the_single_sentence_chunks():
    tokens = corpus([[40, 5]] * 400 + [[5, 41]] * 400)
    config = dataclasses.replace(CONFIG, length=30, short_rate=0.0)
    labels = np.array([pair.label for pair in pairs_of(config, tokens)])
    # [40, 4]: two chunks of one sentence. [5, 40]: one chunk of two, half of which put the second back as a single.
    singles = len(labels) - 400
    assert within(labels.sum() - singles, 400, 0.5)
    assert labels.mean() > 0.75


def test_sentence_order_keeps_the_order_of_the_document_under_label_0():
    for pair in pairs_of(dataclasses.replace(CONFIG, pair_task="order")):
        assert (pair.a_start < pair.b_start) == (pair.label == 0)


def test_the_vocabulary_of_b_tells_random_pairs_but_not_swapped_ones():
    """Next-sentence prediction is a matter of topic, sentence order is not (Lan et al. 2019, section 4.6)."""
    tokens = random_corpus(400, 8, 9)
    topic = np.repeat(np.arange(400), np.diff(tokens.documents))  # each document has words of its own
    for task, share in (("next", 1.0), ("order", 0.5)):
        config = dataclasses.replace(CONFIG, pair_task=task, pair_balance="balanced")
        pairs = np.array(pairs_of(config, tokens))
        guess = topic[pairs[:, 0]] != topic[pairs[:, 2]]
        assert within(int((guess == pairs[:, 4]).sum()), len(pairs), share)


def test_a_batch_is_cls_a_sep_b_sep_and_padding():
    stream = open_stream(CONFIG, NUMBERED, VOCAB, seed=0)
    for step in range(5):
        batch = stream.batch(step)
        assert batch.task is not None
        for row in range(8):
            shown = batch.document[row] > 0
            tokens, segments, word = batch.tokens[row][shown], batch.segments[row], batch.word[row]
            first, last = np.flatnonzero(tokens == VOCAB.sep)
            assert tokens[0] == VOCAB.cls and last == len(tokens) - 1 and first > 1 and last > first + 1
            assert (np.diff(tokens[1:first]) == 1).all() and (np.diff(tokens[first + 1 : last]) == 1).all()
            assert segments.tolist() == [0] * (first + 1) + [1] * (last - first) + [0] * (32 - len(tokens))
            assert (batch.tokens[row][~shown] == VOCAB.pad).all()
            assert [i for i in range(32) if word[i] < 0] == [0, first, *range(last, 32)]
            assert word[first + 1] > word[first - 1] >= 0
            places = np.array([tokens[1], tokens[first + 1]]).astype(int) - 10
            same = document_of(CORPUS, places[0]) == document_of(CORPUS, places[1])
            assert same == (batch.task.label[row] == 0)


@settings(max_examples=8)
@given(step=st.integers(0, 50), cut=st.integers(0, 8))
def test_a_batch_of_pairs_is_a_function_of_seed_and_step(step, cut):
    stream, again = (open_stream(CONFIG, SMALL, VOCAB, seed=5) for _ in range(2))
    again.batch(0)
    shares = again.batch(step, slice(0, cut)), again.batch(step, slice(cut, None))
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *shares)
    jax.tree.map(np.testing.assert_array_equal, stream.batch(step), joined)


def test_each_epoch_has_other_pairs_and_reads_none_twice_unless_it_is_shorter_than_the_first():
    stream = open_stream(CONFIG, CORPUS, VOCAB, seed=0)
    assert len({tuple(stream.batch(step).tokens.ravel()) for step in range(4)}) == 4
    steps = stream.steps_per_epoch
    assert (stream.batch(0).tokens != stream.batch(steps).tokens).any()
    assert stream.batch(steps).epoch.tolist() == [1] * 8
    examples = np.concatenate([stream.batch(step).example for step in range(steps)])
    assert len(np.unique(examples)) == len(examples) == steps * 8


def test_tables_are_rebuilt_alike_when_their_files_are_lost(tmp_path):
    steps = [0, 90, 180, 270]
    before = [open_stream(CONFIG, CORPUS, VOCAB, seed=0, folder=tmp_path).batch(step) for step in steps]
    for path in tmp_path.iterdir():
        assert path.suffix == ".npy"
        path.unlink()
    after = [open_stream(CONFIG, CORPUS, VOCAB, seed=0, folder=tmp_path).batch(step) for step in steps]
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_held_out_pairs_come_once_in_order_and_end_in_rows_of_padding():
    stream = open_stream(CONFIG, CORPUS, VOCAB, seed=0, held_out=True)
    parts = [stream.batch(step) for step in range(stream.steps_per_epoch)]
    batch = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    count = len(pairs_of(CONFIG, rng=np.random.default_rng([0, 0, 1])))
    real = (batch.document > 0).any(axis=1)
    assert real.tolist() == [True] * count + [False] * (len(real) - count) and len(real) - count < 8
    assert (batch.tokens[~real] == VOCAB.pad).all() and (batch.task.label[~real] == 0).all()
    assert (batch.segments[~real] == 0).all() and (batch.word[~real] == -1).all()
    again = open_stream(CONFIG, CORPUS, VOCAB, seed=9, held_out=True)
    jax.tree.map(np.testing.assert_array_equal, parts[1], again.batch(1 + again.steps_per_epoch))


def test_one_document_is_refused_for_next_sentences_and_serves_sentence_order():
    tokens = corpus([[9] * 200])
    with pytest.raises(InputError, match=r"pair_task=next.* 1 document.*pair_task=order"):
        open_stream(CONFIG, tokens, VOCAB, seed=0)
    assert open_stream(dataclasses.replace(CONFIG, pair_task="order"), tokens, VOCAB, seed=0).steps_per_epoch > 1


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"isolate": True}, r"data.isolate=True"),
        ({"directions": "both"}, r"data.directions=both"),
        ({"length": 4}, r"data.length=4"),
        ({"pair_format": "xlnet", "pair_task": "order"}, r"data.pair_task=order"),
        ({"pair_format": "xlnet", "pair_balance": "balanced"}, r"data.pair_balance=balanced"),
    ],
)
def test_what_pairs_cannot_do_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        open_stream(dataclasses.replace(CONFIG, **changes), CORPUS, VOCAB, seed=0, stride=2)


def test_a_tokenizer_without_cls_is_refused():
    with pytest.raises(InputError, match=r"no \[CLS\]"):
        open_stream(CONFIG, CORPUS, dataclasses.replace(VOCAB, cls=None), seed=0)
