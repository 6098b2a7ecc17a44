"""The curve asks what it says: of a known source it is the closed form, of a model what its other scores say."""

import dataclasses
import functools
import itertools
import math

import numpy as np
import pytest

import scoring
from batch import InputError
from data.sources import open_source
from data.tokenizer import Tokenizer
from evaluation.blocks import cut
from evaluation.curve import (
    KINDS,
    LEFT,
    RANDOM,
    TWO_SIDED,
    UNIGRAM,
    Answers,
    Line,
    Questions,
    answers,
    cardinalities,
    draw_questions,
    drawn_blocks,
    estimates,
    ngram_answers,
)
from evaluation.curve_figure import BEYOND, cells, draw, stretched, unstretched
from evaluation.likelihood import Options, left_to_right
from evaluation.mass import EPOCHS, training_mass
from evaluation.ngrams import count_ngrams
from evaluation.optimum import optimal_answers
from evaluation.pseudo import pseudo_log_likelihood
from evaluation.statistics import Estimate
from objectives import CausalLm, MaskedLm, PermutationLm
from scoring import LETTERS, VOCAB, subject

SIZE = 9  # tokens of a block
SOURCE, BYTES = open_source("markov:order=1,symbols=16,length=32"), Tokenizer("bytes")
Z = 4


def text(count: int, size: int, seed: int = 0, vocab=VOCAB):
    """Documents of random letters."""
    drawn = np.random.default_rng(seed).choice(LETTERS, (count, size))
    return scoring.tokens([tuple(row.tolist()) for row in drawn], vocab)


BLOCKS = drawn_blocks(cut(text(6, SIZE), VOCAB, SIZE + 1), 100)
QUESTIONS = draw_questions(BLOCKS, 15)  # two a block, and three of some


@functools.cache
def asked(name: str) -> Answers:
    return answers(subject(name), BLOCKS, QUESTIONS, 16)


def bits(name: str, questions: Questions, tokens) -> np.ndarray:
    """What a model says where the blocks hold other tokens."""
    return answers(subject(name), dataclasses.replace(BLOCKS, tokens=tokens.astype(np.int32)), questions, 16).bits


# The questions.


@pytest.mark.parametrize("size", [1, 2, 3, 8, 31, 63, 511])
def test_the_curve_has_both_ends_and_a_dozen_points_at_most(size):
    counts = cardinalities(size)
    assert counts[0] == 0 and counts[-1] == size - 1 and len(counts) <= 12
    assert counts == sorted(set(counts))


def test_a_question_shows_the_start_and_c_tokens_and_never_its_target():
    assert np.array_equal(QUESTIONS.visible[:, 1:].sum(axis=1), QUESTIONS.count)
    assert QUESTIONS.visible[:, 0].all() and (QUESTIONS.place >= 1).all()
    assert not QUESTIONS.visible[np.arange(len(QUESTIONS.place)), QUESTIONS.place].any()
    for kind, count in itertools.product(KINDS, cardinalities(SIZE)):
        assert (QUESTIONS.of(kind) & (QUESTIONS.count == count)).sum() == (6 if kind == LEFT else 15)


def test_contiguous_contexts_are_the_tokens_before_and_those_around_a_target():
    for i in np.flatnonzero(~QUESTIONS.of(RANDOM)):
        place, count = QUESTIONS.place[i], QUESTIONS.count[i]
        seen = set(np.flatnonzero(QUESTIONS.visible[i])) - {0}
        if QUESTIONS.kind[i] == KINDS.index(LEFT):
            assert place == count + 1 and seen == set(range(1, place))
        else:
            around = range(place - math.ceil(count / 2), place + count // 2 + 1)
            assert seen == set(around) - {place}


def test_random_contexts_are_uniform_over_targets_and_sets_and_targets_over_the_places_that_fit():
    blocks = cut(text(4000, 5), VOCAB, 6)
    questions = draw_questions(blocks, 4000)
    for count in questions.counts:
        own = questions.where(questions.of(RANDOM) & (questions.count == count))
        outcomes = own.visible[:, 1:] @ (1 << np.arange(5)) * 8 + own.place
        expected = 5 * math.comb(4, count)
        _close_to_uniform(outcomes, expected)
        _close_to_uniform(questions.place[questions.of(TWO_SIDED) & (questions.count == count)], 5 - count)


def _close_to_uniform(outcomes, kinds: int):
    seen = np.unique(outcomes, return_counts=True)[1]
    expected = len(outcomes) / kinds
    assert len(seen) == kinds and np.all(np.abs(seen - expected) <= Z * math.sqrt(expected))


def test_the_random_contexts_of_a_target_are_nested():
    own = QUESTIONS.where(QUESTIONS.of(RANDOM))
    visible = own.visible.reshape(len(cardinalities(SIZE)), -1, SIZE + 1)
    assert (visible[1:] >= visible[:-1]).all()
    assert (own.place.reshape(visible.shape[:2]) == own.place[: visible.shape[1]]).all()


def test_the_questions_of_a_block_depend_on_nothing_but_where_it_begins():
    whole = cut(text(6, SIZE), VOCAB, SIZE + 1)
    some = drawn_blocks(whole, 3)
    assert some.num_blocks == 3
    first, second = draw_questions(whole, 6), draw_questions(some, 3)
    numbers = np.flatnonzero(np.isin(whole.source[:, 1], some.source[:, 1]))
    again = first.where(np.isin(first.block, numbers))
    assert np.array_equal(again.visible, second.visible) and np.array_equal(again.place, second.place)


def test_only_blocks_whose_tokens_are_all_scored_are_asked_about():
    documents = scoring.tokens([(3, 4, 5, 3, 4), (4, 5, 3), (5, 4, 1, 4, 5), (5, 5, 5, 5, 5, 3, 3)])
    blocks = drawn_blocks(cut(documents, VOCAB, 6), 100)
    assert blocks.tokens[:, 1:].tolist() == [[3, 4, 5, 3, 4], [5, 5, 5, 5, 5]]
    with pytest.raises(InputError, match=r"--length=7: .* 1 documents"):
        drawn_blocks(cut(documents, VOCAB, 7), 100)


# What models answer.


def test_left_contiguous_of_a_causal_model_is_its_likelihood_by_place():
    log_p = left_to_right(subject("gpt-causal"), BLOCKS).tokens.log_p.reshape(-1, SIZE)
    found = estimates(QUESTIONS, BLOCKS, asked("gpt-causal").bits)
    assert {kind for kind, _ in found} == {LEFT}
    for count in cardinalities(SIZE):
        assert found[LEFT, count].value == pytest.approx(-log_p[:, count].mean() / math.log(2), abs=1e-12)


@pytest.mark.parametrize("name", ["bert-masked", "xlnet-permutation"])
def test_the_last_random_point_is_the_pseudo_log_likelihood_of_the_same_tokens(name):
    log_p = pseudo_log_likelihood(subject(name), BLOCKS, Options(batch=16)).tokens.log_p.reshape(-1, SIZE)
    last = QUESTIONS.of(RANDOM) & (QUESTIONS.count == SIZE - 1)
    expected = -log_p[QUESTIONS.block, QUESTIONS.place - 1] / math.log(2)
    np.testing.assert_allclose(asked(name).bits[last], expected[last], atol=1e-5)


@pytest.mark.parametrize("name", ["gpt-causal", "bert-masked", "xlnet-permutation"])
def test_left_contiguous_questions_are_those_of_the_likelihood(name):
    log_p = left_to_right(subject(name), BLOCKS, Options(batch=16)).tokens.log_p.reshape(-1, SIZE)
    own = QUESTIONS.of(LEFT)
    expected = -log_p[QUESTIONS.block, QUESTIONS.place - 1] / math.log(2)
    np.testing.assert_allclose(asked(name).bits[own], expected[own], atol=1e-5)


@pytest.mark.parametrize("name", ["gpt-causal", "bert-masked", "xlnet-permutation"])
def test_what_a_model_answers_is_a_distribution_over_targets_and_depends_on_what_is_visible_alone(name):
    """Of one question a block: every letter at its target adds up to one; what is hidden changes nothing."""
    for kind, count in itertools.product(KINDS, (0, 4, SIZE - 1)):
        group = QUESTIONS.of(kind) & (QUESTIONS.count == count)
        group &= np.cumsum(group) <= BLOCKS.num_blocks
        questions = QUESTIONS.where(group)
        assert np.array_equal(questions.block, np.arange(BLOCKS.num_blocks))
        if np.isnan(asked(name).bits[group]).all():
            continue
        target = np.arange(SIZE + 1) == questions.place[:, None]
        spelled = (np.where(target, letter, BLOCKS.tokens) for letter in LETTERS)
        np.testing.assert_allclose(sum(2 ** -bits(name, questions, tokens) for tokens in spelled), 1, atol=1e-5)
        others = np.where(BLOCKS.tokens == 5, 3, BLOCKS.tokens + 1)
        hidden, seen = ~questions.visible & ~target, questions.visible & (np.arange(SIZE + 1) > 0)
        unseen = bits(name, questions, np.where(hidden, others, BLOCKS.tokens))
        np.testing.assert_allclose(unseen, asked(name).bits[group], atol=1e-5)
        changed = bits(name, questions, np.where(seen, others, BLOCKS.tokens))
        assert np.abs(changed - asked(name).bits[group]).max() > 1e-2 or not count


def test_a_model_that_reads_one_side_is_asked_nothing_else():
    assert np.isfinite(asked("gpt-causal").bits[QUESTIONS.of(LEFT)]).all()
    assert np.isnan(asked("gpt-causal").bits[~QUESTIONS.of(LEFT)]).all()
    assert np.isnan(asked("gpt-backward").bits).all()


def test_baselines_are_asked_for_the_same_tokens():
    unigram, bigram = (
        ngram_answers(count_ngrams(text(50, SIZE, 1), VOCAB, order, SIZE + 1), BLOCKS, QUESTIONS) for order in (1, 2)
    )
    for letter in LETTERS:
        own = BLOCKS.tokens[QUESTIONS.block, QUESTIONS.place] == letter
        assert np.ptp(unigram.bits[own]) == 0 and own.any()
    assert np.array_equal(np.isfinite(bigram.bits), QUESTIONS.of(LEFT))


# The known source.


@functools.cache
def of_the_source(count: int = 1000):
    """Text of the source in blocks, the questions about it, and what its posteriors say."""
    documents = [
        tuple(BYTES.encode("".join(SOURCE.alphabet[i] for i in row)).tolist()) for row in SOURCE.sample(count, seed=5)
    ]
    tokens = scoring.tokens(documents, BYTES.vocab)
    blocks = cut(tokens, BYTES.vocab, SOURCE.length + 1)
    questions = draw_questions(blocks, count)
    found = optimal_answers(SOURCE, BYTES, tokens, blocks, questions)
    assert found is not None
    return blocks, questions, found


def entropy(p) -> float:
    return float(-(p[p > 0] * np.log2(p[p > 0])).sum())


@functools.cache
def between(left: int, right: int) -> float:
    """Entropy of a symbol given that so many places before and so many behind it, if any, is the next one visible."""
    transition = SOURCE.transition
    stationary = np.linalg.matrix_power(transition, 4096)[0]
    symbols = np.eye(len(transition))
    before = np.linalg.matrix_power(transition, left) if left else symbols
    behind = np.linalg.matrix_power(transition, right) if right else symbols
    if left and right:
        joint = np.einsum("x,xy,yz->xyz", stationary, before, behind)
        return entropy(joint) - entropy(joint.sum(axis=1))
    if left or right:
        joint = stationary[:, None] * (before if left else behind)
        return entropy(joint) - entropy(joint.sum(axis=0 if right else 1))
    return entropy(stationary)


def closed_form(kind: str, count: int, size: int) -> float:
    """The curve of a first-order chain: only the nearest visible symbols matter."""
    if kind == LEFT:
        return between(min(count, 1), 0)
    if kind == TWO_SIDED:
        return between(min(count, 1), 1 if count >= 2 else 0)
    total = 0.0
    for place in range(1, size + 1):
        for left, right in itertools.product(range(place), range(size - place + 1)):  # 0: none is visible
            hidden = (left if left else place) - 1 + (right if right else size - place + 1) - 1
            visible = (left > 0) + (right > 0)
            ways = math.comb(size - 1 - hidden - visible, count - visible) if count >= visible else 0
            total += ways * between(left, right) if ways else 0.0
    return total / size / math.comb(size - 1, count)


def test_the_closed_form_adds_up_to_the_entropy_of_a_text():
    """The chain rule in random order; an error in it would show here and not only in the curve."""
    total = sum(closed_form(RANDOM, count, 12) for count in range(12))
    assert total == pytest.approx(between(0, 0) + 11 * between(1, 0), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_curve_of_the_true_source_is_the_closed_form(kind):
    _, questions, found = of_the_source()
    for count in questions.counts:
        bits = found.bits[questions.of(kind) & (questions.count == count)]
        error = bits.std(ddof=1) / math.sqrt(len(bits))
        expected = closed_form(kind, count, SOURCE.length)
        assert abs(bits.mean() - expected) < Z * error, (count, bits.mean(), expected, error)
        assert error < 0.08, "too few questions: the test cannot fail"


def test_the_curve_falls_by_more_than_an_objective_says_of_a_model():
    """One perfect model: what training losses of different objectives hide."""
    ends = [closed_form(RANDOM, count, 32) for count in (0, 27, 31)]
    assert ends[0] > closed_form(LEFT, 5, 32) > ends[1] > ends[2]


def test_what_follows_the_symbols_of_a_document_is_certain_and_other_text_has_no_optimum():
    documents = [tuple(BYTES.encode("".join(SOURCE.alphabet[i] for i in row) + "\n")) for row in SOURCE.sample(3, 1)]
    tokens = scoring.tokens([tuple(map(int, row)) for row in documents], BYTES.vocab)
    blocks = cut(tokens, BYTES.vocab, 12)  # 33 tokens in three blocks of 11
    questions = draw_questions(blocks, 9)
    found = optimal_answers(SOURCE, BYTES, tokens, blocks, questions)
    certain = blocks.source[questions.block, questions.place] % 34 == SOURCE.length
    assert found is not None and certain.any()
    assert (found.bits[certain] == 0).all() and (found.bits[~certain] > 0).all()
    for wrong in (open_source("markov:symbols=4,length=32"), open_source("markov:symbols=16,length=31")):
        assert optimal_answers(wrong, BYTES, tokens, blocks, questions) is None


# The training mass.


def test_a_causal_objective_trains_on_every_number_of_visible_tokens_alike():
    np.testing.assert_allclose(training_mass(CausalLm(), VOCAB, BLOCKS), 1 / SIZE)


def test_a_masked_objective_trains_where_its_rate_leaves_that_many_visible():
    """A row of 21 tokens, the start counted, has 3 targets; the start, which is ordinary here, may be one of them."""
    blocks = cut(text(400, 20), VOCAB, 21)
    mass = training_mass(MaskedLm(rate=0.15), VOCAB, blocks)
    expected = np.zeros(20)
    expected[[17, 18]] = [(18 / 21) * 3, (3 / 21) * 2]
    expected /= expected.sum()
    error = math.sqrt(expected[17] * expected[18] / (400 * EPOCHS * 2))
    assert mass.sum() == pytest.approx(1) and set(np.flatnonzero(mass)) == {17, 18}
    assert abs(mass[17] - expected[17]) < Z * error


def test_a_permutation_objective_trains_on_the_last_places_of_the_order():
    blocks = cut(text(50, 20), VOCAB, 21)
    special = dataclasses.replace(VOCAB, special=(0, 1, 2))  # the start is no target
    mass = training_mass(PermutationLm(predict_one_in=5, spans="token", specials_seen=True), special, blocks)
    np.testing.assert_allclose(mass, [0] * 16 + [0.25] * 4)


def test_padding_is_not_visible():
    """A row of 8 tokens has one target."""
    blocks = cut(text(400, 7), VOCAB, 21)
    assert set(np.flatnonzero(training_mass(MaskedLm(rate=0.15), VOCAB, blocks))) == {6}


def test_an_objective_that_does_not_fit_into_the_blocks_is_refused():
    with pytest.raises(InputError, match="reuse=32"):
        training_mass(PermutationLm(reuse=32), VOCAB, BLOCKS)


# The picture.


def test_the_axis_tells_both_ends_apart_and_every_target_is_in_one_bin():
    counts = np.arange(63.0)
    np.testing.assert_allclose(unstretched(stretched(counts, 63), 63), counts, atol=1e-9)
    edges = cells(63)
    assert np.array_equal(np.histogram(cardinalities(63), edges)[0], np.ones(len(edges) - 1))
    assert np.histogram(counts, edges)[0].sum() == 63


def test_the_figure_draws_what_was_asked_and_nothing_else():
    lines = [
        Line(name, asked(name), estimates(QUESTIONS, BLOCKS, asked(name).bits), is_baseline=False)
        for name in ("gpt-causal", "bert-masked")
    ]
    figure = draw(lines, SIZE)
    for kind, axes in zip(KINDS, figure.axes[:3], strict=True):
        drawn = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
        for line in lines:
            expected = [line.points[kind, c].value for c in cardinalities(SIZE) if (kind, c) in line.points]
            np.testing.assert_allclose(drawn[line.name], expected)


def test_a_model_far_above_the_unigrams_says_how_far_and_spoils_no_scale():
    level = lambda bits: {(kind, 0): Estimate(bits, bits, bits, 0.0) for kind in KINDS}  # noqa: E731
    lines = [
        Line("lost", asked("bert-masked"), level(11.2), is_baseline=False),
        Line("fine", asked("bert-masked"), level(1.5), is_baseline=False),
        Line(UNIGRAM, asked("bert-masked"), level(2.0)),
    ]
    for axes in draw(lines, SIZE).axes[:3]:
        assert axes.get_ylim()[1] == pytest.approx(2.0 * BEYOND)
        assert "↑11.2" in [text.get_text() for text in axes.texts]
    assert draw(lines[1:], SIZE).axes[0].get_ylim()[1] < 2.0 * BEYOND
