"""Intervals cover, differences are paired, and counts of n-grams are distributions."""

import dataclasses
import math

import numpy as np
import pytest

import scoring
from evaluation.blocks import cut, emittable
from evaluation.ngrams import count_ngrams, ngram_score
from evaluation.scores import Score, TokenScores
from evaluation.statistics import FEW, bits_per_byte, difference, nats_per_token, ratio, resampled
from scoring import SIZE, VOCAB, WRITTEN, enumerated


def drawn(rng, units=60, truth=2.0):
    """Documents of very different sizes; the numerator is `truth` a byte, and noise."""
    size = rng.integers(20, 400, units).astype(float)
    return size * truth * np.exp(0.3 * rng.normal(size=units) - 0.045), size


def score_of(log_p, byte_length, document):
    """A score made by hand, a block a token."""
    count = len(log_p)
    tokens = TokenScores(
        log_p=np.asarray(log_p, float),
        leaked=np.zeros(count),
        weight=np.ones(count),
        byte_length=np.asarray(byte_length),
        block=np.arange(count),
        document=np.asarray(document),
    )
    return Score(name="x", normalised=True, context="", passes=1.0, flops=1.0, tokens=tokens)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng, trials = np.random.default_rng(0), 400
    inside = 0
    for seed in range(trials):
        found = ratio(*drawn(rng), draws=400, seed=seed)
        inside += found.low <= 2.0 <= found.high
    expected, error = 0.95, math.sqrt(0.95 * 0.05 / trials)
    assert abs(inside / trials - expected) < 4 * error


def test_the_standard_error_is_that_of_repeated_experiments():
    rng = np.random.default_rng(1)
    found = [ratio(*drawn(rng), draws=400) for _ in range(300)]
    spread = np.std([each.value for each in found])
    assert np.mean([each.error for each in found]) == pytest.approx(spread, rel=0.15)


def test_two_models_that_are_alike_differ_significantly_in_one_experiment_of_twenty():
    rng, trials, significant = np.random.default_rng(2), 400, 0
    for _ in range(trials):
        (one, size), other = drawn(rng), 0
        other = one * np.exp(0.05 * rng.normal(size=len(one)) - 0.00125)
        significant += abs(ratio(one - other, size, draws=300).z) > 1.96
    assert abs(significant / trials - 0.05) < 4 * math.sqrt(0.05 * 0.95 / trials)


def test_the_same_seed_draws_the_same_units_whatever_is_summed():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(2, 50))
    together, alone = resampled(values, 100, seed=5), resampled(values[1:], 100, seed=5)
    np.testing.assert_allclose(together[1:], alone)
    assert (resampled(values, 100, seed=6) != together).any()
    np.testing.assert_allclose(resampled(np.ones((1, 50)), 100, seed=0), 50)


def test_pairing_by_document_finds_a_difference_that_two_intervals_hide():
    rng = np.random.default_rng(4)
    document, size = np.arange(80), rng.integers(20, 400, 80)
    hard = -size * np.exp(rng.normal(size=80))
    one, other = score_of(hard, size, document), score_of(hard * 1.01, size, document)
    found = difference(other, one)
    assert found.z > 4 and found.low > 0
    assert found.value == pytest.approx(bits_per_byte(other).value - bits_per_byte(one).value)
    assert bits_per_byte(one).high > bits_per_byte(other).low
    assert difference(one, other).value == pytest.approx(-found.value)
    same = difference(one, one)
    assert same.value == same.z == 0


def test_different_texts_have_no_difference():
    one = score_of([-1.0] * 40, [1] * 40, np.arange(40))
    assert difference(one, score_of([-1.0] * 40, [2] * 40, np.arange(40))) is None
    assert difference(one, score_of([-1.0] * 30, [1] * 30, np.arange(30))) is None


def test_other_tokenizers_are_paired_by_document():
    one = score_of([-1.0] * 8, [1] * 8, np.repeat([0, 1], 4))
    other = score_of([-3.0] * 4, [2] * 4, np.repeat([0, 1], 2))
    found = difference(one, other)
    assert found.unit == "document" and found.value == pytest.approx((8 - 12) / math.log(2) / 8)


@pytest.mark.parametrize(("documents", "unit"), [(FEW - 1, "block"), (FEW, "document")])
def test_a_handful_of_documents_is_drawn_by_block(documents, unit):
    rng = np.random.default_rng(5)
    score = score_of(-rng.random(3 * documents), [1] * 3 * documents, np.repeat(np.arange(documents), 3))
    found = bits_per_byte(score)
    assert found.unit == unit and found.low < found.value < found.high


def test_one_unit_has_no_interval():
    found = bits_per_byte(score_of([-1.0], [2], [0]))
    assert found.value == pytest.approx(0.5 / math.log(2)) and math.isnan(found.low) and math.isnan(found.error)


def test_bits_per_byte_are_those_of_the_text_and_not_a_mean_of_documents():
    score = score_of([-1.0, -2.0, -6.0], [1, 1, 10], [0, 0, 1])
    assert bits_per_byte(score).value == pytest.approx(9 / math.log(2) / 12)
    assert nats_per_token(score).value == pytest.approx(3)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_ngrams_sum_to_one_after_every_history_seen_or_not(order):
    ngrams = count_ngrams(scoring.texts(), VOCAB, order, SIZE + 1)
    rng = np.random.default_rng(0)
    history = rng.integers(-1, VOCAB.size, (200, max(order - 1, 1)))
    possible = np.flatnonzero(emittable(VOCAB))
    p = np.exp([ngrams.log_p(history, np.full(len(history), token)) for token in possible])
    np.testing.assert_allclose(p.sum(axis=0), 1, atol=1e-12)
    assert (p > 0).all()


@pytest.mark.parametrize("order", [1, 5])
def test_an_ngram_score_sums_to_one_over_all_texts(order):
    score = ngram_score(count_ngrams(scoring.texts(), VOCAB, order, SIZE + 1), enumerated())
    assert score.normalised and np.exp(-score.by_block().nats).sum() == pytest.approx(1, abs=1e-9)


def test_ngrams_are_those_of_witten_and_bell():
    """Three letters, (3, 4) twice and (3, 5) once after the start 2, worked out by hand."""
    ngrams = count_ngrams(scoring.tokens([(3, 4), (3, 4), (3, 5)]), VOCAB, 2, 8)
    unigram = {3: (3 + 3 / 3) / 9, 4: (2 + 3 / 3) / 9, 5: (1 + 3 / 3) / 9}
    history = np.array([[2], [3], [3], [4]])
    found = np.exp(ngrams.log_p(history, np.array([3, 4, 5, 3])))
    expected = [(3 + unigram[3]) / 4, (2 + 2 * unigram[4]) / 5, (1 + 2 * unigram[5]) / 5, unigram[3]]
    np.testing.assert_allclose(found, expected)


def test_ngrams_do_not_reach_across_documents():
    ngrams = count_ngrams(scoring.tokens([(3, 3, 3), (4, 4, 4)]), VOCAB, 2, 8)
    from_three = np.exp(ngrams.log_p(np.array([[3], [3]]), np.array([4, 5])))
    assert from_three[0] > from_three[1]  # by its unigram only
    p_of_four = (3 + 2 / 3) / 8
    assert from_three[0] == pytest.approx(p_of_four / 3)


def test_more_context_helps_on_text_that_repeats():
    text = scoring.tokens([WRITTEN[i % 9] * 3 for i in range(40)])
    blocks = cut(text, VOCAB, 13)
    one, five = (ngram_score(count_ngrams(text, VOCAB, order, 13), blocks) for order in (1, 5))
    assert bits_per_byte(five).value < bits_per_byte(one).value - 0.3
    assert (one.name, five.name) == ("unigram", "5-gram")


def test_a_training_text_without_a_letter_leaves_all_letters_alike():
    ngrams = count_ngrams(scoring.tokens([(0, 0)]), VOCAB, 3, 8)
    p = np.exp(ngrams.log_p(np.array([[3, 4]]), np.array([5])))
    assert p == pytest.approx(1 / 3)


def test_a_sampled_score_counts_every_byte():
    score = score_of([-1.0, np.nan], [3, 4], [0, 0])
    tokens = dataclasses.replace(score.tokens, weight=np.array([2.0, 0.0]), block=np.zeros(2, int))
    found = bits_per_byte(dataclasses.replace(score, tokens=tokens))
    assert found.value == pytest.approx(2 / math.log(2) / 7)
