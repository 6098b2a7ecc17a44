"""Prefix language modeling: where a row is cut, who sees what is before the cut, and what is asked behind it."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from batch import VOID, Batch, InputError
from cases import MODELS, build, loud
from evaluation.blocks import cut
from evaluation.likelihood import left_to_right
from evaluation.passes import Subject
from objectives import CausalLm, PrefixLm
from scoring import VOCAB as LETTERS
from scoring import texts as written
from texts import VOCAB, batch_of, only_ordinary, random_batch


@functools.cache
def preparer(objective):
    return jax.jit(lambda batch, key: objective.prepare(batch, VOCAB, key))


def prepared(objective, batch: Batch, seed: int = 0):
    return jax.tree.map(np.asarray, preparer(objective)(batch, jax.random.key(seed)))


def awkward(rows: int = 60, length: int = 14) -> Batch:
    """Padding on both sides, up to three documents packed in a row, specials anywhere."""
    rng = np.random.default_rng(0)
    index, left, real = np.arange(length), rng.integers(0, 3, (rows, 1)), rng.integers(2, 12, (rows, 1))
    document = np.where((index >= left) & (index < left + real), 1 + index // rng.integers(4, 9, (rows, 1)), 0)
    return batch_of(np.where(document, rng.integers(1, VOCAB.size, (rows, length)), 0), document)


@pytest.mark.parametrize("objective", [PrefixLm(), PrefixLm(share=0.5), PrefixLm(share=0.99)], ids=str)
def test_every_eligible_token_behind_the_cut_is_asked_of_its_left_neighbor_and_no_other(objective):
    batch = awkward()
    inputs, targets = prepared(objective, batch)
    for b, (tokens, document) in enumerate(zip(batch.tokens, batch.document, strict=True)):
        places = np.flatnonzero(document)
        prefix = int((inputs.order[b, places] == 0).sum())
        assert 1 <= prefix < max(len(places), 2)
        assert inputs.order[b, places].tolist() == [max(i - prefix + 1, 0) for i in range(len(places))]
        if objective.share is not None:
            assert prefix == min(max(round(objective.share * len(places)), 1), len(places) - 1)
        expected = [
            (one, tokens[other])
            for one, other in zip(places[prefix - 1 :], places[prefix:], strict=False)
            if document[one] == document[other] and tokens[other] not in VOCAB.special
        ]
        used = targets.weights[b] > 0
        assert list(zip(inputs.predict[b][used], targets.labels[b][used], strict=True)) == expected
    np.testing.assert_array_equal(inputs.order == VOID, batch.document == 0)
    np.testing.assert_array_equal(inputs.tokens, batch.tokens)
    assert set(np.unique(targets.weights)) == {0, 1}


def test_every_cut_that_leaves_a_target_is_equally_likely():
    rows, length, real = 6000, 9, 7
    document = np.tile(np.arange(length) < real, (rows, 1)).astype(int)
    inputs, _ = prepared(PrefixLm(), batch_of(only_ordinary(rows, length).tokens * document, document))
    counts = np.bincount((inputs.order == 0).sum(axis=1), minlength=length)
    assert not counts[[0, real, real + 1]].any()
    expected = rows / (real - 1)
    statistic = ((counts[1:real] - expected) ** 2 / expected).sum()
    assert statistic < real - 2 + 4 * np.sqrt(2 * (real - 2))


def test_rows_of_one_token_and_of_none_have_no_target():
    document = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 1]])
    _, targets = prepared(PrefixLm(), batch_of(np.full((3, 3), 10) * document, document))
    assert targets.weights.sum(axis=1).tolist() == [0, 0, 1]


def test_cut_behind_its_first_token_a_row_is_one_of_causal_language_modeling():
    for batch in (random_batch(40, 16), awkward()):
        (one, asked), (other, same) = prepared(PrefixLm(share=0.0), batch), prepared(CausalLm(), batch)
        np.testing.assert_array_equal(asked.weights, same.weights)
        np.testing.assert_array_equal(asked.labels, same.labels)
        real = batch.document > 0
        first = np.where(real, np.arange(real.shape[1]), real.shape[1]).min(axis=1, keepdims=True)
        np.testing.assert_array_equal(np.where(real, one.order + first, VOID), other.order)
        jax.tree.map(np.testing.assert_array_equal, one.replace(order=other.order), other)


def test_a_trained_model_is_asked_as_a_causal_one_is():
    config, blocks = MODELS["gpt"], cut(written(), LETTERS, 9)
    causal, prefix = (
        Subject(config, build(config, LETTERS.size), loud(config, LETTERS.size), objective, LETTERS)
        for objective in (CausalLm(), PrefixLm())
    )
    assert prefix.one_pass and not prefix.any_order and not prefix.backward
    np.testing.assert_array_equal(*(left_to_right(each, blocks).tokens.log_p for each in (causal, prefix)))


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_leaves_nothing_to_predict_is_refused(share):
    with pytest.raises(InputError, match=f"objective.share={share}"):
        dataclasses.replace(PrefixLm(), share=share)
