"""The tests over seeds are exact, and the crossed bootstrap draws seeds and items: enumeration, scipy, closed forms."""

import fractions
import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from ablation.bootstrap import crossed, ratios
from ablation.significance import MOST, equivalence, holm, not_rejected, outside, seeds_needed, sign_flip
from batch import InputError
from evaluation.statistics import ratio

ALTERNATIVES = ("two-sided", "less", "greater")


def enumerated(integers, alternative):
    """The p of a sign-flip test in integers, which do not round."""
    observed, sums = (
        sum(integers),
        [
            sum(sign * value for sign, value in zip(signs, integers, strict=True))
            for signs in itertools.product((1, -1), repeat=len(integers))
        ],
    )
    extreme = {
        "two-sided": [abs(each) >= abs(observed) for each in sums],
        "less": [each <= observed for each in sums],
        "greater": [each >= observed for each in sums],
    }
    return np.mean(extreme[alternative])


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@given(integers=st.lists(st.integers(-9, 9), min_size=1, max_size=9))
def test_the_p_of_signs_is_that_of_all_patterns_with_their_ties(alternative, integers):
    """A third of an integer rounds, and sums of thirds round in several ways; ties must stay ties."""
    found = sign_flip(np.array(integers, float) / 3 * 1e-3, alternative)
    assert found == enumerated(integers, alternative)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("seeds", [2, 5, 10])
def test_the_p_of_signs_is_scipys(alternative, seeds):
    differences = np.random.default_rng(seeds).normal(0.5, 1, seeds)
    peer = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative=alternative
    )
    assert sign_flip(differences, alternative) == pytest.approx(peer.pvalue, abs=1e-12)


@given(integers=st.lists(st.integers(-9, 9), min_size=6, max_size=8))
def test_the_interval_holds_the_means_that_are_not_rejected(integers):
    """The means of all subsets part the line into 2^S equally likely places of the center (Hartigan 1969)."""
    values = np.array(integers, float)
    chosen = [np.array(each, bool) for each in itertools.product((0, 1), repeat=len(values)) if any(each)]
    means = np.sort([values[each].mean() for each in chosen])
    rank = int(0.05 * 2 ** len(values) / 2)
    low, high = not_rejected(values)
    assert (low, high) == pytest.approx((means[rank - 1], means[-rank]), abs=1e-6)
    if min(abs(low), abs(high)) > 1e-6:
        assert (low < 0 < high) == (sign_flip(values) > 0.05)


def test_few_seeds_or_a_lost_one_have_no_interval():
    assert np.isnan(not_rejected(np.arange(1.0, 6))).all() and not np.isnan(not_rejected(np.arange(1.0, 7))).any()
    assert not_rejected(np.arange(1.0, 6), 2.0**-4) == pytest.approx((1, 5)), "a p of alpha is rejected"
    assert np.isnan(not_rejected(np.array([1.0, math.nan, 2, 3, 4, 5]))).all()
    assert not_rejected(np.full(6, 0.25)) == pytest.approx((0.25, 0.25))


@pytest.mark.parametrize("seeds", [21, 30, MOST])
def test_many_seeds_are_tested_exactly(seeds):
    """The distribution of the sum of integers with random signs, one convolution after the other."""
    integers = np.random.default_rng(seeds).integers(-5, 8, seeds)
    distribution = np.ones(1)
    for value in np.abs(integers):
        distribution = np.convolve(
            distribution, np.eye(1, 2 * value + 1)[0] / 2 + np.eye(1, 2 * value + 1, 2 * value)[0] / 2
        )
    sums = np.arange(len(distribution)) - np.abs(integers).sum()
    assert sign_flip(integers * 0.1, "greater") == pytest.approx(distribution[sums >= integers.sum()].sum(), rel=1e-9)


def test_more_seeds_than_can_be_enumerated_are_refused():
    with pytest.raises(InputError, match=f"seeds: {MOST + 1} .* at most {MOST}"):
        sign_flip(np.ones(MOST + 1))


@pytest.mark.parametrize("seeds", range(1, 12))
def test_no_p_is_smaller_than_that_of_equal_signs(seeds):
    same = np.random.default_rng(0).random(seeds) + 0.01
    assert sign_flip(same) == sign_flip(-same) == 2.0 ** (1 - seeds)
    assert sign_flip(same, "greater") == sign_flip(-same, "less") == 2.0**-seeds


def test_no_difference_is_no_evidence():
    assert [sign_flip(np.zeros(8), alternative) for alternative in ALTERNATIVES] == [1.0, 1.0, 1.0]
    assert equivalence(np.zeros(8), 0.0) == outside(np.zeros(8), 0.0) == 1.0


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf])
def test_a_difference_that_is_not_finite_has_no_p(lost):
    differences = np.array([1.0, lost, 2.0])
    assert all(math.isnan(sign_flip(differences, alternative)) for alternative in ALTERNATIVES)
    assert math.isnan(equivalence(differences, 1.0)) and math.isnan(outside(differences, 1.0))


def test_small_differences_are_equivalent_and_large_ones_are_outside_on_either_side():
    noise = np.random.default_rng(0).normal(0, 0.1, 8)
    assert equivalence(noise, 1.0) == 2.0**-8 and outside(noise, 1.0) == 1.0
    for shift in (2, -2):
        assert equivalence(noise + shift, 1.0) == 1.0 and outside(noise + shift, 1.0) == 2.0**-7


@given(integers=st.lists(st.integers(-9, 9), min_size=1, max_size=8), margin=st.integers(0, 9))
def test_margins_move_the_hypothesis_to_their_edges(integers, margin):
    """Inside is above the lower edge and below the upper one; outside is below or above, and counts twice."""
    lower, upper = [each + margin for each in integers], [each - margin for each in integers]
    inside = max(enumerated(lower, "greater"), enumerated(upper, "less"))
    beyond = min(1, 2 * min(enumerated(lower, "less"), enumerated(upper, "greater")))
    differences = np.array(integers, float)
    assert equivalence(differences, float(margin)) == inside and outside(differences, float(margin)) == beyond


@given(integers=st.lists(st.integers(-9, 9), min_size=1, max_size=8))
def test_outside_no_margin_is_the_two_sided_test(integers):
    differences = np.array(integers, float)
    assert outside(differences, 0.0) == sign_flip(differences)


@given(integers=st.lists(st.integers(-9, 9), min_size=1, max_size=8), rise=st.integers(0, 9))
def test_p_falls_as_the_differences_rise(integers, rise):
    """So that the p of a mean of 0 holds for all below 0."""
    differences = np.array(integers, float)
    assert sign_flip(differences + rise, "greater") <= sign_flip(differences, "greater")


def rejected(p, alpha):
    """Holm's method as he wrote it: the smallest against alpha / C, the next against alpha / (C - 1), and so on."""
    left, found = sorted(range(len(p)), key=lambda i: p[i]), set()
    while left and p[left[0]] * len(left) <= alpha:
        found.add(left.pop(0))
    return found


@given(p=st.lists(st.integers(0, 64), max_size=7), level=st.integers(0, 64))
def test_holm_rejects_what_the_step_down_sequence_does(p, level):
    """In 64ths, so that levels and probabilities meet exactly."""
    exact, alpha = [fractions.Fraction(each, 64) for each in p], fractions.Fraction(level, 64)
    adjusted = holm(np.array(p, float) / 64)
    if alpha < 1:
        assert set(np.flatnonzero(adjusted <= float(alpha))) == rejected(exact, alpha)
    assert (adjusted <= 1).all() and (adjusted >= np.array(p) / 64).all()


def test_holm_leaves_a_nan_out_of_the_family():
    found = holm(np.array([0.04, math.nan, 0.01, math.nan]))
    np.testing.assert_allclose(found, [0.04, math.nan, 0.02, math.nan])


@pytest.mark.parametrize(("claims", "alpha", "needed"), [(1, 0.05, 6), (3, 0.05, 7), (10, 0.05, 9), (1, 0.0625, 5)])
def test_with_the_seeds_needed_the_clearest_claim_is_decided_and_with_one_less_it_is_not(claims, alpha, needed):
    assert seeds_needed(claims, alpha) == needed
    for seeds, decided in ((needed, True), (needed - 1, False)):
        p = np.ones(claims)
        p[0] = sign_flip(np.ones(seeds))
        assert (holm(p)[0] <= alpha) == decided


def noise(rng, S, U, seeds, items, both):
    """Totals of mean 0 with these standard deviations, and weights of 1."""
    totals = seeds * rng.normal(size=(S, 1)) + items * rng.normal(size=(1, U)) + both * rng.normal(size=(S, U))
    return totals, np.ones((S, U))


@pytest.mark.parametrize(
    ("deviations", "variance"),
    [
        ((1, 0, 0), 1 / 24 * (1 - 1 / 24)),
        ((0, 1, 0), 1 / 36 * (1 - 1 / 36)),
        ((0, 0, 1), ((2 - 1 / 24) * (2 - 1 / 36) - 1) / (24 * 36)),
    ],
)
def test_the_interval_is_as_wide_as_owen_computed(deviations, variance):
    """The variance due to seeds, items and both: the last comes out almost three times too great (Owen 2007)."""
    rng = np.random.default_rng(0)
    found = [crossed(*noise(rng, 24, 36, *deviations), draws=800, seed=seed) for seed in range(60)]
    width = np.array([each.high - each.low for each in found]) / (2 * scipy.stats.norm.ppf(0.975))
    assert np.mean(width**2) == pytest.approx(variance, rel=0.12)


def test_the_interval_covers_the_truth():
    """Of 300 repetitions as many as a normal interval of the bootstrap's variance would."""
    rng, trials, S, U = np.random.default_rng(1), 300, 30, 40
    found = [crossed(*noise(rng, S, U, 1.0, 1.0, 0.3), draws=300, seed=seed) for seed in range(trials)]
    inside = np.mean([each.low <= 0 <= each.high for each in found])
    variance = 1 / S + 1 / U + 0.09 / (S * U)
    bootstrap = (1 - 1 / S) / S + (1 - 1 / U) / U + 3 * 0.09 / (S * U)
    expected = 2 * scipy.stats.norm.cdf(1.96 * math.sqrt(bootstrap / variance)) - 1
    assert abs(inside - expected) < 3 * math.sqrt(0.05 * 0.95 / trials)


def test_without_variance_of_the_seeds_only_items_are_drawn():
    rng = np.random.default_rng(2)
    totals, weights = rng.normal(2, 1, 50), rng.integers(1, 9, 50).astype(float)
    expected = ratio(totals, weights, seed=3)
    for S in (1, 6):
        found = crossed(np.tile(totals, (S, 1)), np.tile(weights, (S, 1)), seed=3)
        assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))


@pytest.mark.parametrize("U", [1, 30])
def test_without_variance_of_the_items_only_seeds_are_drawn(U):
    """Four seeds can be drawn in 256 ways."""
    seeds = np.array([0.0, 1.0, 3.0, 10.0])
    low, high = np.percentile([np.mean(each) for each in itertools.product(seeds, repeat=4)], [2.5, 97.5])
    found = crossed(np.tile(seeds[:, None], (1, U)) * 2, np.full((4, U), 2.0), draws=20_000)
    assert found.value == pytest.approx(3.5)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_one_seed_and_one_item_have_no_interval():
    found = crossed(np.array([[3.0]]), np.array([[2.0]]))
    assert found.value == 1.5 and math.isnan(found.low) and math.isnan(found.high)


def test_seeds_are_drawn_independently_of_items():
    """Were they the same draw, a square of noise on the diagonal would vary far more."""
    totals = np.eye(20) - 1 / 20
    found = crossed(totals, np.ones((20, 20)), draws=4000)
    drawn = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), size=(2, 4000))
    peer = np.einsum("di,dj,ij->d", *drawn, totals) / 400
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(peer, [2.5, 97.5])), rel=0.1)


def test_pairing_takes_out_what_the_arms_share():
    rng = np.random.default_rng(4)
    (shared, weights), ahead = noise(rng, 8, 60, 1.0, 1.0, 0.1), 0.05 * rng.normal(size=(8, 60)) + 0.2
    found = crossed(shared + ahead, weights, (shared, weights))
    alone = crossed(shared, weights)
    assert found.value == pytest.approx(ahead.mean()) and 0 < found.low < found.high
    assert (found.high - found.low) * 10 < alone.high - alone.low
    opposite = crossed(shared, weights, (shared + ahead, weights))
    assert (opposite.low, opposite.high) == pytest.approx((-found.high, -found.low))
    same = crossed(shared, weights, (shared, weights))
    assert same.value == same.low == same.high == 0


def test_the_value_is_a_mean_of_ratios_and_each_arm_has_its_own_weights():
    totals, weights = np.array([[1.0, 2.0], [3.0, 9.0]]), np.array([[1.0, 1.0], [4.0, 2.0]])
    np.testing.assert_allclose(ratios(totals, weights), [1.5, 2.0])
    assert crossed(totals, weights).value == pytest.approx(1.75)
    assert crossed(totals, weights, (totals, 2 * weights)).value == pytest.approx(0.875)


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf])
def test_an_arm_that_diverged_has_no_value_and_raises_nothing(lost):
    totals, weights = np.ones((3, 4)), np.ones((3, 4))
    totals[1, 2:] = lost
    assert np.isnan(ratios(totals, weights)).tolist() == [False, True, False]
    for found in (crossed(totals, weights), crossed(weights, weights, (totals, weights))):
        assert math.isnan(found.value) and math.isnan(found.low) and math.isnan(found.high)
    assert np.isnan(ratios(np.zeros((1, 2)), np.zeros((1, 2)))).all()


def test_a_draw_of_weightless_items_is_no_draw():
    weights = np.array([[1.0, 0.0, 0.0]] * 2)
    found = crossed(np.array([[3.0, 0.0, 0.0], [5.0, 0.0, 0.0]]), weights)
    assert (found.value, found.low, found.high) == (4.0, 3.0, 5.0)
