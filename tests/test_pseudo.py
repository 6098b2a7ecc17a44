"""Pseudo-log-likelihoods see both sides, are no likelihoods, and never stand in a column with one."""

import dataclasses

import numpy as np
import pytest

import scoring
from batch import InputError
from evaluation.blocks import cut
from evaluation.likelihood import Options, left_to_right
from evaluation.orders import Consistency
from evaluation.pseudo import perplexity, pseudo_log_likelihood, word_left_to_right
from evaluation.statistics import bits_per_byte
from evaluation.tables import Row, check_comparable, markdown, order_table, score_table, score_values
from scoring import BOTH_SIDES, SIZE, VOCAB, WRITTEN, enumerated, subject

BOTH = (pseudo_log_likelihood, word_left_to_right)


def with_words(starts):
    """The 81 texts, whose words begin at these letters."""
    text = scoring.tokens(WRITTEN)
    word_start = np.tile([place in starts for place in range(SIZE + 1)], len(WRITTEN))
    return cut(dataclasses.replace(text, word_start=word_start), VOCAB, SIZE + 1)


def terms(score):
    """Log-probability of each letter of each of the 81 texts, by the letters."""
    return score.tokens.log_p.reshape(3, 3, 3, 3, SIZE)


@pytest.mark.parametrize("scorer", BOTH, ids=lambda scorer: scorer.__name__)
@pytest.mark.parametrize("name", BOTH_SIDES)
def test_a_pseudo_log_likelihood_says_that_it_is_not_normalised_and_is_not(name, scorer):
    score = scorer(subject(name), with_words((0, 2, SIZE)))
    total = np.exp(-score.by_block().nats).sum()
    assert not score.normalised and abs(total - 1) > 1e-3


@pytest.mark.parametrize("name", ["bert-masked", "xlnet-permutation"])
def test_each_term_depends_on_every_other_letter_and_not_on_its_own(name):
    """What a model gives the three letters that may stand at a place adds up to one, whatever the others are."""
    log_p = terms(pseudo_log_likelihood(subject(name), enumerated()))
    for place in range(SIZE):
        p = np.exp(log_p[..., place])
        np.testing.assert_allclose(p.sum(axis=place), 1, atol=1e-5)
        for other in set(range(SIZE)) - {place}:
            assert np.ptp(p, axis=other).max() > 1e-3


@pytest.mark.parametrize("name", ["bert-masked", "xlnet-permutation"])
def test_the_later_letters_of_a_word_are_hidden_from_its_earlier_ones(name):
    score = word_left_to_right(subject(name), with_words((0, 3, SIZE)))
    log_p = terms(score)
    for place in range(3):
        for other in set(range(SIZE)) - {place}:
            seen = np.ptp(log_p[..., place], axis=other).max()
            assert seen < 1e-5 if place < other < 3 else seen > 1e-3
    assert score.context != pseudo_log_likelihood(subject(name), enumerated()).context


def test_one_word_is_the_chain_rule_and_single_letters_are_the_pseudo_log_likelihood():
    """A word that fills the text is scored from left to right, behind as many [MASK]s as are left: a likelihood."""
    asked = subject("bert-masked")
    whole = word_left_to_right(asked, with_words((0, SIZE)))
    np.testing.assert_allclose(whole.tokens.log_p, left_to_right(asked, enumerated()).tokens.log_p, atol=1e-5)
    letters = word_left_to_right(asked, enumerated())
    np.testing.assert_allclose(letters.tokens.log_p, pseudo_log_likelihood(asked, enumerated()).tokens.log_p, atol=1e-5)


@pytest.mark.parametrize("scorer", BOTH, ids=lambda scorer: scorer.__name__)
def test_batches_and_padding_change_nothing(scorer):
    asked, blocks = subject("bert-masked"), cut(scoring.texts(), VOCAB, SIZE + 1)
    noise = np.random.default_rng(0).choice(scoring.LETTERS, blocks.tokens.shape).astype(np.int32)
    noisy = dataclasses.replace(blocks, tokens=np.where(blocks.real, blocks.tokens, noise))
    score = scorer(asked, blocks)
    np.testing.assert_array_equal(scorer(asked, noisy).tokens.log_p, score.tokens.log_p)
    one_by_one = scorer(asked, blocks, Options(batch=1)).tokens.log_p
    np.testing.assert_allclose(one_by_one, score.tokens.log_p, rtol=1e-5, atol=1e-5)


def test_perplexity_is_per_token_and_bits_are_per_byte():
    texts = scoring.tokens([(a, a, b, b) for a in scoring.LETTERS for b in scoring.LETTERS])
    score = left_to_right(subject("bert-masked"), cut(texts, VOCAB, SIZE + 1))
    tokens = dataclasses.replace(score.tokens, log_p=np.log(np.tile([1 / 3, 1], 18)), byte_length=np.full(36, 2))
    true = dataclasses.replace(score, tokens=tokens)
    assert perplexity(true) == pytest.approx(np.sqrt(3))
    assert bits_per_byte(true).value == pytest.approx(np.log2(3) / 4)


def test_a_table_refuses_a_likelihood_beside_a_pseudo_log_likelihood():
    asked, blocks = subject("bert-masked"), enumerated()
    likelihood, pseudo = left_to_right(asked, blocks), pseudo_log_likelihood(asked, blocks)
    for rows in ([likelihood, pseudo], [pseudo, likelihood]):
        with pytest.raises(InputError, match="one column cannot hold both") as refused:
            score_table([Row("a", score) for score in rows])
        assert "PLL" in str(refused.value) and "left to right" in str(refused.value)
    check_comparable([pseudo, word_left_to_right(asked, blocks)])
    assert "pseudo-bits/byte" in score_table([Row("a", pseudo)]) and "PPPL" in score_table([Row("a", pseudo)])
    assert "pseudo" not in score_table([Row("a", likelihood)])


def test_a_tokenizer_that_loses_text_gets_no_bits_per_byte():
    score = left_to_right(subject("bert-masked"), enumerated())
    values = score_values(Row("a", score, lossless=False))
    assert "bits_per_byte" not in values and values["nats_per_token"]["value"] > 0
    assert f"| {bits_per_byte(score).value:.4f}" not in score_table([Row("a", score, lossless=False)])


def test_the_table_says_how_many_positions_were_asked_and_what_that_costs():
    score = left_to_right(subject("bert-masked"), enumerated(), Options(positions=2))
    values = score_values(Row("a", score))
    assert values["asked"] == 2 * 81 and values["tokens"] == 4 * 81 and values["passes"] == 2
    assert values["sampling_error"] > 0 and f"{values['sampling_error']:.4f}" in score_table([Row("a", score)])
    assert values["normalised"] and "[MASK] at all places" in values["context"]


def test_a_table_is_markdown_whose_columns_align():
    table = markdown(["name", "n"], [["a", "1"], ["long name", "23"]], left=("name",)).splitlines()
    assert table == ["| name      |  n |", "| --------- | -: |", "| a         |  1 |", "| long name | 23 |"]
    assert order_table([("x", Consistency(3, 1.0, float("nan"), 0.5))]).splitlines()[-1].split("|")[4].strip() == "-"
