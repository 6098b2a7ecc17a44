"""Permutation language modeling: which tokens are targets, in both reading directions and both halves."""

import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest

from batch import VOID, InputError, Vocab
from objectives import PermutationLm
from texts import batch_of, eligible, only_ordinary, random_batch

VOCAB = Vocab(size=40, special=(0, 1, 2, 3, 4, 9), pad=0, cls=1, sep=2)  # [MASK] is not needed
KEY = jax.random.key(3)
RELEASE = PermutationLm(num_predict=85, reuse=256, perm_size=256)


@functools.cache
def prepared(objective: PermutationLm):
    return jax.jit(lambda batch, key: objective.prepare(batch, VOCAB, key))


def permute(objective, batch, key=KEY):
    """Which tokens are targets, inputs and targets."""
    inputs, targets = jax.tree.map(np.asarray, prepared(objective)(batch, key))
    used, chosen = targets.weights > 0, np.zeros(batch.tokens.shape, bool)
    chosen[np.nonzero(used)[0], inputs.predict[used]] = True
    assert chosen.sum() == used.sum()
    return chosen, inputs, targets


def text(rows: int, length: int, start_rate: float = 0.7, seed: int = 0):
    starts = np.random.default_rng(seed).random((rows, length)) < start_rate
    return dataclasses.replace(only_ordinary(rows, length), word=np.cumsum(starts, axis=1).astype(np.int32))


def test_the_release_s_window_has_43_targets_in_the_first_half_and_42_in_the_second():
    batch = text(50, 512)
    batch.tokens[:, [400, 510, 511]] = VOCAB.sep, VOCAB.sep, VOCAB.cls
    chosen, inputs, targets = permute(RELEASE, batch)
    assert (chosen[:, :256].sum(axis=1) == 43).all() and (chosen[:, 256:].sum(axis=1) == 42).all()
    assert targets.weights.shape == (50, 85) and targets.weights.all()
    assert (np.diff(inputs.predict, axis=1) > 0).all()
    assert inputs.reuse == 256 and inputs.query_stream and inputs.blind.all()


def test_one_token_in_k_is_a_target_where_no_number_is_given():
    assert permute(PermutationLm(), only_ordinary(3, 64))[0].sum(axis=1).tolist() == [10] * 3  # 64 / 6


@pytest.mark.parametrize("spans", ["ngram", "token"])
@pytest.mark.parametrize("unit", ["piece", "word"])
def test_targets_are_eligible_and_labels_are_the_tokens_shown_over_1e5_tokens(spans, unit):
    batch = random_batch(1700, 64)
    assert batch.tokens.size > 1e5
    chosen, inputs, targets = permute(PermutationLm(spans=spans, unit=unit, num_predict=20, reuse=32), batch)
    assert chosen.any() and not (chosen & ~eligible(batch)).any()
    np.testing.assert_array_equal(inputs.tokens, batch.tokens)  # nothing is corrupted
    labels = np.take_along_axis(batch.tokens, inputs.predict, axis=1)
    np.testing.assert_array_equal(targets.labels, np.where(targets.weights > 0, labels, 0))
    available = np.stack([eligible(batch)[:, :32].sum(axis=1), eligible(batch)[:, 32:].sum(axis=1)])
    count = np.stack([chosen[:, :32].sum(axis=1), chosen[:, 32:].sum(axis=1)])
    if spans == "token" or unit == "piece":
        np.testing.assert_array_equal(count, np.minimum(available, 10))
    assert (count <= 10).all()


def test_ngrams_of_whole_words_are_unions_of_whole_words():
    batch = random_batch(500, 64, start_rate=0.7)
    chosen, _, _ = permute(PermutationLm(unit="word"), batch)
    joined = (np.diff(batch.word, axis=1) == 0) & (batch.word[:, 1:] >= 0)
    np.testing.assert_array_equal(chosen[:, 1:][joined], chosen[:, :-1][joined])


def test_single_targets_are_uniform_over_the_eligible_tokens():
    chosen, _, _ = permute(PermutationLm(spans="token", num_predict=4), only_ordinary(6000, 20))
    expected = 6000 * 4 / 20
    assert (np.abs(chosen.sum(axis=0) - expected) < 4 * np.sqrt(expected * 0.8)).all()


def starts_in_natural_order(word: np.ndarray, direction: int) -> np.ndarray:
    return np.diff(word, axis=1, prepend=-1) != 0 if direction > 0 else np.diff(word, axis=1, append=-1) != 0


def share_at_starts(chosen: np.ndarray, starts: np.ndarray, direction: int) -> float:
    """Of the runs of targets, how many begin, in natural text order, at a start."""
    begins = chosen & ~np.pad(chosen, ((0, 0), (1, 0)))[:, :-1]
    if direction < 0:
        begins = chosen & ~np.pad(chosen, ((0, 0), (0, 1)))[:, 1:]
    return starts[begins].mean()


@pytest.mark.parametrize("direction", [1, -1])
def test_ngrams_begin_at_word_starts_of_the_text_in_both_directions(direction):
    batch = text(400, 256, start_rate=0.5)
    batch = dataclasses.replace(batch, direction=np.full(400, direction, np.int32))
    chosen, inputs, _ = permute(PermutationLm(num_predict=42), batch)
    np.testing.assert_array_equal(inputs.direction, batch.direction)
    in_order = share_at_starts(chosen, starts_in_natural_order(batch.word, direction), direction)
    mirrored = share_at_starts(chosen, starts_in_natural_order(batch.word, -direction), -direction)
    assert in_order > 0.75  # all n-grams, and half of the single tokens
    assert mirrored < 0.65


def test_a_reversed_row_has_the_mirrored_targets_of_the_row_as_written():
    batch = dataclasses.replace(text(100, 64), direction=np.full(100, 1, np.int32))
    mirror = dataclasses.replace(
        batch, tokens=batch.tokens[:, ::-1], word=batch.word[:, ::-1], direction=np.full(100, -1, np.int32)
    )
    objective = PermutationLm(unit="word")
    np.testing.assert_array_equal(permute(objective, batch)[0], permute(objective, mirror)[0][:, ::-1])


@pytest.mark.parametrize("spans", ["ngram", "token"])
def test_tiny_rows_have_the_targets_they_can_have(spans):
    tokens = np.zeros((5, 12), int)
    tokens[0, :3] = VOCAB.cls, 11, VOCAB.sep
    tokens[1, :3] = VOCAB.cls, VOCAB.sep, VOCAB.sep
    tokens[2], tokens[4] = VOCAB.sep, 12
    batch = batch_of(tokens, (tokens != 0).astype(int))  # row 3 is padding
    chosen, inputs, targets = permute(PermutationLm(spans=spans, num_predict=12, reuse=4), batch)
    assert chosen.sum(axis=1).tolist() == [1, 0, 0, 0, 12]
    assert (inputs.order[tokens == 0] == VOID).all() and (inputs.order[tokens != 0] < VOID).all()
    assert targets.weights.shape == (5, 12)


@pytest.mark.parametrize("static_draws", [0, 1, 3])
def test_static_draws_fix_the_targets_of_a_text_one_draw_an_epoch_in_turn_but_never_their_order(static_draws):
    batch = only_ordinary(50, 64)
    objective = PermutationLm(num_predict=16, reuse=32, static_draws=static_draws)
    epochs = [permute(objective, dataclasses.replace(batch, epoch=batch.epoch + epoch))[:2] for epoch in range(7)]
    for (one, (chosen, inputs)), (other, (again, inputs_again)) in itertools.combinations(enumerate(epochs), 2):
        same = (chosen == again).all(axis=1)
        assert same.all() if static_draws and (one - other) % static_draws == 0 else not same.any()
        for half in (slice(0, 32), slice(32, 64)):
            assert (inputs.order[:, half] != inputs_again.order[:, half]).any(axis=1).all()


@pytest.mark.parametrize(
    "objective",
    [
        PermutationLm(num_predict=8),
        PermutationLm(unit="word", reuse=16, perm_size=8),
        PermutationLm(num_predict=8, static_draws=5),
    ],
)
def test_a_row_s_targets_and_order_do_not_depend_on_the_batch_around_it(objective):
    batch = dataclasses.replace(random_batch(12, 32), epoch=np.arange(12, dtype=np.int32))
    whole = prepared(objective)(batch, KEY)
    for rows in (np.array([7, 2, 11, 0]), np.arange(12)[::-1]):
        part = prepared(objective)(jax.tree.map(lambda x, rows=rows: x[rows], batch), KEY)
        jax.tree.map(lambda a, b, rows=rows: np.testing.assert_array_equal(np.asarray(a)[rows], b), whole, part)


def test_other_keys_epochs_and_examples_have_other_targets_and_orders_and_the_same_the_same():
    batch, objective = only_ordinary(200, 64), PermutationLm(spans="token", num_predict=16)
    chosen, inputs, _ = permute(objective, batch)
    np.testing.assert_array_equal(chosen, permute(objective, batch)[0])
    for other, key in (
        (batch, jax.random.key(4)),
        (dataclasses.replace(batch, epoch=batch.epoch + 1), KEY),
        (dataclasses.replace(batch, example=batch.example + 1000), KEY),
    ):
        again, inputs_again, _ = permute(objective, other, key)
        assert (again != chosen).any(axis=1).all() and (inputs.order != inputs_again.order).any(axis=1).all()
        assert abs((again & chosen).sum() / chosen.sum() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / chosen.sum())


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"perm_size": 5}, "objective.perm_size=5"),
        ({"perm_size": 8, "reuse": 12}, "objective.perm_size=8"),
        ({"num_predict": 17}, "objective.num_predict=17"),
        ({"reuse": 16}, "objective.reuse=16"),
        ({"reuse": 0}, "objective.reuse=0"),
        ({"longest": 0}, "objective.longest=0"),
        ({"num_predict": 0}, "objective.num_predict=0"),
        ({"predict_one_in": 0.5}, "objective.predict_one_in=0.5"),
        ({"static_draws": -1}, "objective.static_draws=-1"),
    ],
)
def test_wrong_fields_are_refused_by_name(fields, names):
    with pytest.raises(InputError, match=names):
        jax.eval_shape(lambda: PermutationLm(**fields).prepare(only_ordinary(2, 16), VOCAB, KEY))
