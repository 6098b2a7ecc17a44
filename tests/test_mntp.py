"""Masked next-token prediction: what is hidden as in masked language modeling, and asked one place earlier."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batch import VOID, InputError, Task
from cases import MODELS, build, given, loud, read
from evaluation.blocks import emittable
from evaluation.likelihood import Options, in_order
from evaluation.passes import Subject
from evaluation.pseudo import pseudo_log_likelihood
from evaluation.scores import block_sums
from objectives import MaskedLm, MaskedNextToken
from scoring import SIZE, VOCAB, WRITTEN, enumerated
from test_prefix import awkward, prepared
from texts import VOCAB as IDS
from texts import batch_of, only_ordinary


@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_the_token_behind_each_predicting_place_is_hidden_and_asked(unit):
    batch = awkward(400)
    objective = MaskedNextToken(MaskedLm(rate=0.4, unit=unit, mask_share=1.0, random_share=0.0))
    inputs, targets = prepared(objective, batch)
    used = targets.weights > 0
    row, place = np.nonzero(used)[0], inputs.predict[used] + 1
    assert used.any(axis=1).mean() > 0.9
    np.testing.assert_array_equal(targets.labels[used], batch.tokens[row, place])
    np.testing.assert_array_equal(batch.document[row, place - 1], batch.document[row, place])
    assert not IDS.is_special[targets.labels[used]].any()
    expected = batch.tokens.copy()
    expected[row, place] = IDS.mask
    np.testing.assert_array_equal(inputs.tokens, expected)
    assert (inputs.order[batch.document > 0] == 0).all() and not inputs.blind.any()


def test_all_tokens_but_the_first_of_a_document_become_targets():
    batch = batch_of(only_ordinary(400, 8).tokens, np.tile([1, 1, 1, 2, 2, 3, 4, 4], (400, 1)))
    inputs, targets = prepared(MaskedNextToken(MaskedLm(rate=1.0)), batch)
    asked = np.zeros(batch.tokens.shape, bool)
    used = targets.weights > 0
    asked[np.nonzero(used)[0], inputs.predict[used] + 1] = True
    np.testing.assert_array_equal(asked, np.tile([0, 1, 1, 0, 1, 0, 0, 1], (400, 1)).astype(bool))


def test_where_rows_begin_with_a_special_it_hides_what_its_masked_language_modeling_hides():
    tokens = only_ordinary(50, 24).tokens
    tokens[:, 0] = IDS.cls
    batch = batch_of(tokens)
    batch = dataclasses.replace(batch, task=Task(label=np.zeros(50, np.int32)))
    hiding = MaskedLm(rate=0.3, unit="word", pair_weight=0.5, reuse=12)
    objective = MaskedNextToken(hiding)
    (one, targets), (other, same) = prepared(objective, batch), prepared(hiding, batch)
    used = same.weights > 0
    np.testing.assert_array_equal(one.predict[used] + 1, other.predict[used])
    jax.tree.map(np.testing.assert_array_equal, targets, same)
    jax.tree.map(np.testing.assert_array_equal, one.replace(predict=other.predict), other)
    assert objective.pair_weight == 0.5 and objective.reuse == 12
    assert objective.scales(jax.tree.map(jnp.asarray, targets)).keys() == {"loss", "pair_loss"}


@functools.cache
def subject() -> Subject:
    """A subject with large random weights, so that context decides."""
    config = MODELS["gpt"]
    params = jax.tree.map(lambda leaf: 0 * leaf if leaf.shape == (6,) else 2 * leaf, loud(config, 6, 2))
    return Subject(config, build(config, 6), params, MaskedNextToken(), VOCAB)


@pytest.mark.parametrize("kappa", [None, 1])
@pytest.mark.parametrize("order", [(1, 2, 3, 4), (3, 1, 4, 2)])
def test_a_likelihood_in_any_order_sums_to_one_over_all_texts(order, kappa):
    ranks = np.tile((0, *order), (len(WRITTEN), 1))
    score = in_order(subject(), enumerated(), ranks, "", Options(kappa=kappa))
    sums = block_sums(score, len(WRITTEN))
    np.testing.assert_allclose(np.exp(sums).sum(), 1, rtol=1e-5)
    assert sums.std() > 0.1
    assert score.passes == SIZE


def test_a_token_is_read_at_the_place_before_its_mask():
    """The pass by hand: [MASK] at the token, everybody sees everybody, renormalized over what text can hold."""
    blocks, asked = enumerated(), subject()
    found = pseudo_log_likelihood(asked, blocks).tokens.log_p.reshape(len(WRITTEN), SIZE)
    possible = emittable(VOCAB)
    for target in range(1, SIZE + 1):
        tokens = blocks.tokens[:, : SIZE + 1].copy()
        truth = tokens[:, target].copy()
        tokens[:, target] = VOCAB.mask
        inputs = given(np.zeros_like(tokens), tokens, np.full((len(tokens), 1), target - 1))
        log_p = np.asarray(read(asked.config, inputs, vocab_size=6, params=asked.params)[1], np.float64)[:, 0]
        log_p -= np.logaddexp.reduce(log_p[:, possible], axis=1)[:, None]
        np.testing.assert_allclose(found[:, target - 1], log_p[np.arange(len(truth)), truth], atol=1e-3)


def test_the_place_that_a_token_is_read_at_is_there_even_where_nothing_tells_of_it():
    """Shown: the start and place 4; asked: place 2, read at place 1, where a [MASK] stands; place 3 is void."""
    blocks, asked = enumerated(), subject()
    rows, index = len(WRITTEN), np.arange(SIZE + 1)
    shown, hidden = (np.tile(np.isin(index, places), (rows, 1)) for places in ((0, 4), (2,)))
    target, possible = np.full(rows, 2), emittable(VOCAB)
    found, _ = asked.single(asked.params, blocks.tokens, shown, hidden, target)
    tokens = np.where(shown, blocks.tokens, VOCAB.mask)
    order = np.where(index == 3, VOID, 0)
    inputs = given(order, tokens, np.ones((rows, 1), np.int32))
    log_p = np.asarray(read(asked.config, inputs, vocab_size=6, params=asked.params)[1], np.float64)[:, 0]
    log_p -= np.logaddexp.reduce(log_p[:, possible], axis=1)[:, None]
    np.testing.assert_allclose(found, log_p[np.arange(rows), blocks.tokens[:, 2]], atol=1e-3)
    assert len(np.unique(np.round(log_p, 3), axis=0)) == 3  # place 4 decides


def test_a_vocabulary_without_mask_is_refused():
    config = MODELS["gpt"]
    with pytest.raises(InputError, match="lacks"):
        Subject(config, build(config, 6), None, MaskedNextToken(), dataclasses.replace(VOCAB, mask=None))
    with pytest.raises(InputError, match=r"vocab\.mask=None"):
        MaskedNextToken().prepare(only_ordinary(1, 8), dataclasses.replace(IDS, mask=None), jax.random.key(0))
