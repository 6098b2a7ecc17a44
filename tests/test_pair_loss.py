"""The decision about a sentence pair beside a permutation: it has seen the whole row, and tells nobody."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from batch import VOID, Batch, Task
from cases import HALF, LENGTH, MODELS, QUICK, ROWS, SIZE, VOCAB, build, prepare, read, rows, text
from corpora import VOCAB as PLACES
from corpora import random_corpus
from data.batches import open_stream
from data.config import DataConfig
from models import XlnetConfig
from objectives import PermutationLm
from training.state import init_state
from training.step import make_train_step

MODEL = dataclasses.replace(MODELS["xlnet"], pair_head=True)
PLAIN = {
    "release": PermutationLm(predict_one_in=3),
    "specials_seen": PermutationLm(predict_one_in=3, specials_seen=True),
    "reuse": PermutationLm(predict_one_in=3, reuse=HALF),
}
DECIDED = {name: dataclasses.replace(each, pair_weight=1.0) for name, each in PLAIN.items()}


def summarized(batch: Batch) -> Batch:
    """The batch whose rows end in [CLS], where their summary is."""
    tokens, word, row = batch.tokens.copy(), batch.word.copy(), np.arange(ROWS)
    tokens[row, batch.summary], word[row, batch.summary] = VOCAB.cls, -1
    return batch.replace(tokens=tokens, word=word)


BATCH = summarized(text(MODEL))


@pytest.mark.parametrize("name", DECIDED)
def test_the_summary_comes_last_and_all_else_is_as_without_the_loss(name):
    (alone, plain), (inputs, targets) = prepare(PLAIN[name], BATCH), prepare(DECIDED[name], BATCH)
    order, is_summary = np.asarray(inputs.order), np.arange(LENGTH) == BATCH.summary[:, None]
    assert (order[is_summary][:, None] > np.where(is_summary | (order == VOID), -1, order)).all()
    np.testing.assert_array_equal(order[~is_summary], np.asarray(alone.order)[~is_summary])
    for field in ("labels", "weights"):
        np.testing.assert_array_equal(getattr(targets, field), getattr(plain, field))
    np.testing.assert_array_equal(inputs.predict, alone.predict)


@pytest.mark.parametrize("name", DECIDED)
def test_it_depends_on_every_token_of_its_document_and_no_prediction_on_its_own(name):
    inputs, targets = prepare(DECIDED[name], BATCH)
    before, _ = read(MODEL, inputs)
    row, used = np.arange(ROWS), np.asarray(targets.weights) > 0
    own = BATCH.document == BATCH.document[row, BATCH.summary][:, None]
    for place in range(LENGTH):
        tokens = BATCH.tokens.copy()
        tokens[:, place] = 4 + (tokens[:, place] + 7) % (VOCAB.size - 4)
        after, _ = read(MODEL, inputs.replace(tokens=jnp.asarray(tokens)))
        changed = (np.asarray(after.pooled) != np.asarray(before.pooled)).any(axis=1)
        np.testing.assert_array_equal(changed, own[:, place])
        same = (np.asarray(after.hidden) == np.asarray(before.hidden)).all(axis=2)
        summary = place == BATCH.summary
        assert same[used & summary[:, None]].all() and (~summary[:, None] | used).any()


def test_nor_does_the_memory_that_is_kept_know_what_it_has_seen():
    config = dataclasses.replace(MODELS["xlnet_memory"], pair_head=True)
    inputs, _ = prepare(DECIDED["reuse"], BATCH)
    before, _ = read(config, inputs)
    after, _ = read(config, inputs.replace(tokens=inputs.tokens.at[:, HALF:].set(9)))
    np.testing.assert_array_equal(before.memory.hidden, after.memory.hidden)
    assert (np.asarray(before.pooled) != np.asarray(after.pooled)).any()


def test_padding_left_or_right_changes_nothing():
    """XLNet's rows are padded at the left where they are read, BERT's at the right: distances are the same."""
    documents = [[0] * 4 + [1] * 8]
    left = rows(documents, 2, relative=True)
    inputs, _ = prepare(DECIDED["release"], left)
    moved = {
        field: jnp.roll(getattr(inputs, field), -4, axis=1)
        for field in ("tokens", "segments", "document", "position", "order")
    }
    right = inputs.replace(**moved, predict=inputs.predict - 4, summary=inputs.summary - 4)
    one, other = read(MODEL, inputs)[0], read(MODEL, right)[0]
    used = np.asarray(inputs.predict) >= 4
    np.testing.assert_allclose(one.pooled, other.pooled, atol=1e-5)
    np.testing.assert_allclose(np.asarray(one.hidden)[used], np.asarray(other.hidden)[used], atol=1e-4)


@pytest.mark.parametrize(("form", "stride"), [("xlnet", 16), ("bert", None)])
def test_rows_of_the_data_are_read_at_their_cls(form, stride):
    data = DataConfig(layout="pairs", pair_format=form, length=32, batch_size=4)
    corpus = random_corpus(documents=40, sentences=8, words=6)
    batch = open_stream(data, corpus, PLACES, seed=0, stride=stride).batch(0)
    objective = PermutationLm(predict_one_in=3, pair_weight=1.0, reuse=stride)
    prepared = jax.jit(lambda batch, key: objective.prepare(batch, PLACES, key), compiler_options=QUICK)
    inputs, targets = prepared(batch, jax.random.key(0))
    row, order = np.arange(4), np.where(batch.document != 0, inputs.order, -1)
    assert (batch.tokens[row, batch.summary] == PLACES.cls).all()
    assert (order.argmax(axis=1) == batch.summary).all()
    np.testing.assert_array_equal(targets.task.label, batch.task.label)
    np.testing.assert_array_equal(targets.task_weights, np.ones(4))


def halves(seed: int) -> Batch:
    """Rows A [SEP] B [SEP] [CLS] of two letters each; B has those of A again, or others."""
    rng, count = np.random.default_rng(seed), 32
    label = rng.integers(0, 2, count)
    a = rng.integers(4, 8, (count, 2))
    b = np.where(label[:, None] == 1, a + 4, a)
    ends = np.broadcast_to([VOCAB.sep, VOCAB.sep, VOCAB.cls], (count, 3))
    tokens = np.concatenate([a, ends[:, :1], b, ends[:, 1:]], axis=1).astype(np.int32)
    made = rows([[1] * 7] * count, seed, relative=False)
    segments = np.broadcast_to(np.array([0, 0, 0, 1, 1, 1, 2], np.int32), tokens.shape)
    word = np.where(VOCAB.is_special[tokens], -1, np.arange(7)).astype(np.int32)
    return made.replace(tokens=tokens, segments=segments, word=word, task=Task(label=label.astype(np.int32)))


def test_a_model_learns_to_decide_while_half_of_both_is_hidden_from_each_other():
    config = XlnetConfig(**{**SIZE, "num_layers": 2}, initializer_range=0.2, pair_head=True, norm_position="pre")
    objective, optimizer = PermutationLm(predict_one_in=2, spans="token", pair_weight=1.0), optax.adam(3e-3)
    model = build(config)
    step, state = make_train_step(model, objective, VOCAB, optimizer), init_state(model, optimizer, 32, seed=0)
    losses = []
    for number in range(120):
        state, record = step(state, halves(number), 0)
        losses.append(float(record["pair_loss"].value()))
    assert np.mean(losses[:5]) > 0.5 and np.mean(losses[-10:]) < 0.1
