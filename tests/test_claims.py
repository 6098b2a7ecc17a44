"""Claims come out wrong as often as alpha allows, right where numbers are clear, and undecided with a reason."""

import dataclasses
import itertools
import math
import types

import numpy as np
import pytest

from ablation.claims import check_claims, claim, verdicts
from ablation.results import Metric
from batch import InputError

LESS = Metric("loss", "bits/byte", "less", "The loss.")
MORE = Metric("accuracy", "accuracy", "more", "The accuracy.")
METRICS = {"loss": LESS, "accuracy": MORE}
ALPHA = 0.05


def shown(**arms):
    """What verdicts ask: each metric gives the same rows, a seed each, of items with a weight of 2."""
    arms = {name: np.atleast_2d(np.asarray(rows, float)) for name, rows in arms.items()}
    return lambda metric, arm: (2 * arms[arm], np.full(arms[arm].shape, 2.0))


def flat(values, items=3):
    """One value a seed, which every item has."""
    return np.repeat(np.asarray(values, float)[:, None], items, axis=1)


def around(mean, seeds=8, width=0.1):
    """Values of seeds with this mean exactly, and some noise."""
    noise = np.random.default_rng(7).normal(size=seeds)
    return flat(mean + width * (noise - noise.mean()))


def judged(claims, alpha=ALPHA, draws=50, **arms):
    return verdicts(claims, shown(**arms), METRICS, alpha, draws=draws)


def outcome(one_claim, **arms):
    return judged([one_claim], **arms)[0].outcome


def attainable(level, tails=2, seeds=8):
    """The greatest level of an exact test of this many seeds that is not above `level`."""
    steps = 2**seeds // tails
    return math.floor(level * steps) / steps


def near(found, expected, trials):
    return abs(found - expected) <= 3 * math.sqrt(expected * (1 - expected) / trials)


# Each kind of claim, and how far the one arm's mean is from where the claim begins to be true: above 0 it is.
KINDS = {
    "better, less": (claim("c", "loss", "x", better_than="y", by=1.0), lambda ahead: 4 - ahead),
    "better, more": (claim("c", "accuracy", "x", better_than="y", by=1.0), lambda ahead: 6 + ahead),
    "same, above": (claim("c", "loss", "x", same_as="y", within=1.0), lambda ahead: 6 - ahead),
    "same, below": (claim("c", "loss", "x", same_as="y", within=1.0), lambda ahead: 4 + ahead),
    "equals": (claim("c", "accuracy", "x", equals=5.0, within=1.0), lambda ahead: 6 - ahead),
    "above, less": (claim("c", "loss", "x", above=5.0), lambda ahead: 5 + ahead),
    "above, more": (claim("c", "accuracy", "x", above=5.0), lambda ahead: 5 + ahead),
    "below, less": (claim("c", "loss", "x", below=5.0), lambda ahead: 5 - ahead),
    "below, more": (claim("c", "accuracy", "x", below=5.0), lambda ahead: 5 - ahead),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_clear_passes_its_opposite_fails_and_the_edge_is_neither(kind):
    one_claim, mean = KINDS[kind]
    y = flat(np.linspace(4.9, 5.1, 8))
    assert [outcome(one_claim, x=around(mean(ahead)) + y - 5, y=y) for ahead in (0.5, 0.0, -0.5)] == [
        "PASS",
        "INCONCLUSIVE",
        "FAIL",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_few_seeds_have_numbers_but_no_verdict(kind):
    one_claim, mean = KINDS[kind]
    for seeds, decided in ((1, "NO VERDICT"), (5, "NO VERDICT"), (6, "PASS")):
        [found] = judged([one_claim], x=around(mean(0.5), seeds), y=flat([5.0] * seeds))
        assert found.outcome == decided and len(found.by_seed) == seeds
        assert found.p <= 2.0 ** (1 - seeds) and found.adjusted == found.p
        assert np.isfinite([found.value.value, found.value.low, found.value.high]).all()
        assert ("6 are needed" in found.reason) == (decided == "NO VERDICT")


def test_the_seeds_needed_grow_with_the_family():
    [one_claim, _] = KINDS["above, less"]
    for claims, decided in ((1, "PASS"), (2, "NO VERDICT")):
        found = judged([one_claim] * claims, x=around(9, 6))
        assert {each.outcome for each in found} == {decided}


def test_alpha_itself_is_small_enough():
    [one_claim, _] = KINDS["above, less"]
    for alpha, decided in ((2.0**-5, "PASS"), (2.0**-5 - 1e-9, "NO VERDICT")):
        assert judged([one_claim], alpha, x=around(9, 6))[0].outcome == decided


def test_the_null_control_of_one_claim_is_wrong_as_often_as_the_test_can_be():
    """An arm against itself, twice trained: items and seeds shared, and what chance does to either."""
    rng, trials, wrong = np.random.default_rng(0), 2000, []
    for _ in range(trials):
        shared = rng.normal(size=(8, 1)) + rng.normal(size=(1, 3))
        x, y = shared + rng.standard_t(3, size=(2, 8, 3))
        wrong.append(outcome(claim("c", "loss", "x", better_than="y"), x=x, y=y, draws=2))
    rates = [wrong.count(each) / trials for each in ("PASS", "FAIL")]
    assert attainable(ALPHA) == 6 / 128
    assert near(sum(rates), attainable(ALPHA), trials)
    assert all(near(rate, attainable(ALPHA) / 2, trials) for rate in rates)


def test_the_null_control_of_a_family_is_wrong_as_often_as_holms_method_lets_it():
    """Three independent claims about exchangeable arms: one is wrong where the smallest p is a third of alpha."""
    rng, trials, wrong = np.random.default_rng(1), 2000, 0
    family = [claim("c", metric, one, better_than=other) for metric, one, other in ABOUT_PAIRS]
    for _ in range(trials):
        arms = dict(zip("abcdef", rng.normal(size=(6, 8, 2)), strict=True))
        wrong += any(each.outcome in ("PASS", "FAIL") for each in judged(family, draws=2, **arms))
    level = 1 - (1 - attainable(ALPHA / 3)) ** 3
    assert level < ALPHA and near(wrong / trials, level, trials)


ABOUT_PAIRS = (("loss", "a", "b"), ("accuracy", "c", "d"), ("loss", "e", "f"))


@pytest.mark.parametrize("effect", [0.0, 0.3, 0.9])
def test_claims_that_share_an_arm_are_wrong_no_more_often_than_alpha(effect):
    """A wrong direction of a small effect is wrong, too; a clear effect leaves the others more of alpha."""
    rng, trials, wrong = np.random.default_rng(2), 1000, 0
    family = [claim(arm, "accuracy", arm, better_than="base") for arm in "abc"]
    false = {"a": ("FAIL", "PASS")[: 1 if effect else 2], "b": ("PASS", "FAIL"), "c": ("PASS", "FAIL")}
    for _ in range(trials):
        base, *others = rng.normal(size=(4, 8, 1))
        arms = dict(zip("abc", others, strict=True)) | {"base": base}
        arms["a"] = arms["a"] + effect
        wrong += any(each.outcome in false[each.claim] for each in judged(family, draws=2, **arms))
    assert wrong / trials <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / trials)


def test_at_the_edge_of_a_margin_same_passes_at_alpha_one_sided_and_fails_at_half_of_it():
    """Neither p pays for the other; a difference just within the margin may not fail, one just outside not pass."""
    rng, trials, found = np.random.default_rng(3), 2000, []
    for _ in range(trials):
        x, y = 0.01 * rng.normal(size=(2, 8, 1))
        found.append(outcome(claim("c", "loss", "x", same_as="y", within=1.0), x=x + 1, y=y, draws=2))
    assert near(found.count("PASS") / trials, attainable(ALPHA, tails=1), trials)
    assert near(found.count("FAIL") / trials, attainable(ALPHA / 2, tails=1), trials)


def mixed():
    """A family with every outcome but one, and its arms."""
    rng = np.random.default_rng(4)
    base = rng.normal(5, 1, (8, 1)) + rng.normal(size=(1, 12))
    arms = {arm: base + shift + 0.05 * rng.normal(size=(8, 12)) for arm, shift in (("x", 0), ("y", 0.5), ("z", 0.51))}
    family = [
        claim("x is best", "loss", "x", better_than="y", by=0.1),
        claim("y is better than z", "loss", "y", better_than="z", by=0.01),
        claim("y and z are the same", "accuracy", "y", same_as="z", within=0.2),
        claim("x is high", "accuracy", "x", above=9.0),
    ]
    return family, arms


def test_the_order_of_claims_changes_nothing():
    family, arms = mixed()
    found = judged(family, **arms)
    assert [each.outcome for each in found] == ["PASS", "INCONCLUSIVE", "PASS", "FAIL"]
    for order in itertools.permutations(range(4)):
        assert judged([family[i] for i in order], **arms) == tuple(found[i] for i in order)


def test_the_order_of_seeds_and_items_changes_no_verdict():
    family, arms = mixed()
    seeds, items = np.random.default_rng(5).permutation(8), np.random.default_rng(6).permutation(12)
    found = judged(family, **arms)
    for mine, theirs in zip(judged(family, **{k: v[seeds][:, items] for k, v in arms.items()}), found, strict=True):
        assert (mine.outcome, mine.reason) == (theirs.outcome, theirs.reason)
        assert (mine.p, mine.adjusted) == (theirs.p, theirs.adjusted)
        assert mine.value.value == pytest.approx(theirs.value.value)
        assert mine.by_seed == pytest.approx([theirs.by_seed[i] for i in seeds])


def test_a_verdict_shows_what_one_arm_has_more_than_the_other():
    x, y = np.array([[1.0, 3.0]] * 8), flat(np.linspace(4, 5, 8), 2)
    [found] = judged([claim("c", "loss", "x", better_than="y")], x=x, y=y)
    assert found.by_seed == pytest.approx(2 - np.linspace(4, 5, 8))
    assert found.value.value == pytest.approx(-2.5) and found.value.low < -2.5 < found.value.high
    [alone] = judged([claim("c", "loss", "x", below=3, expected=True)], x=x, y=y)
    assert alone.by_seed == (2.0,) * 8 and alone.expected and not found.expected


@pytest.mark.parametrize(
    ("given", "statement"),
    [
        ({"better_than": "y"}, "loss: x < y"),
        ({"better_than": "y", "by": 0.1}, "loss: x < y - 0.1"),
        ({"same_as": "y", "within": 0.1}, "loss: x = y ± 0.1"),
        ({"equals": 0.5, "within": 0.1}, "loss: x = 0.5 ± 0.1"),
        ({"above": 0.5}, "loss: x > 0.5"),
        ({"below": 0.5}, "loss: x < 0.5"),
    ],
)
def test_a_statement_is_a_formula(given, statement):
    [found] = judged([claim("c", "loss", "x", **given)], x=around(0), y=around(1))
    assert found.statement == statement and found.claim == "c"


def test_where_more_is_better_the_formula_turns_around():
    [found] = judged([claim("c", "accuracy", "x", better_than="y", by=0.1)], x=around(0), y=around(1))
    assert found.statement == "accuracy: x > y + 0.1"


@pytest.mark.parametrize(
    ("kind", "ahead", "reason"),
    [
        (
            "better, less",
            0.5,
            "x - y is -1.5 bits/byte in the mean of 8 seeds, below -1 (p = 0.00781, adjusted 0.0156).",
        ),
        ("better, less", -0.5, "in the mean of 8 seeds, above -1 (p = 0.00781, adjusted 0.0156)."),
        ("better, more", 0.0, "not clearly above 1 nor below 1"),
        ("same, above", 0.5, "within 1 of 0 (p = 0.00391, adjusted 0.00781)."),
        ("equals", -0.5, "x is 6.5 accuracy in the mean of 8 seeds, farther than 1 from 5"),
    ],
)
def test_a_reason_has_the_numbers_that_decide(kind, ahead, reason):
    one_claim, mean = KINDS[kind]
    arms = {"x": around(mean(ahead)), "y": flat([5.0] * 8), "z": around(0)}
    assert reason in judged([one_claim, claim("z", "loss", "z", above=0.0)], **arms)[0].reason


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_an_arm_that_diverged_takes_its_claims_along_and_no_others(kind, lost):
    one_claim, mean = KINDS[kind]
    arms = {"x": around(mean(0.5)), "y": flat([lost] + [5.0] * 7), "z": around(1)}
    arms["x"][2, 1] = lost
    family = [one_claim, claim("z", "loss", "z", above=0.0)]
    found, other = judged(family, **arms)
    assert found.outcome == "NO VERDICT" and "of 8 seeds: a run diverged or measured nothing" in found.reason
    assert math.isnan(found.p) and math.isnan(found.adjusted) and math.isnan(found.value.value)
    assert other.outcome == "PASS" and other.adjusted == 2 * other.p  # the family is as large as it was written


def test_no_reason_speaks_of_minus_0():
    assert ", below 0 (" in judged([claim("c", "loss", "x", better_than="y")], x=around(0), y=around(1))[0].reason


def test_no_claims_have_no_verdicts():
    assert judged([]) == ()


WRONG = [
    ({}, "none given; give one of better_than"),
    ({"above": 0.0, "below": 1.0}, "above, below given; give one of"),
    ({"better_than": "y", "same_as": "y", "within": 1.0}, "better, same given"),
    ({"better_than": "x"}, "x is compared with itself"),
    ({"same_as": "x", "within": 1.0}, "x is compared with itself"),
    ({"better_than": "y", "by": -0.1}, "by=-0.1; it must be at least 0"),
    ({"better_than": "y", "by": math.nan}, "the number is nan"),
    ({"same_as": "y"}, "within=None; same needs a margin"),
    ({"same_as": "y", "within": -0.1}, "within=-0.1; same needs a margin"),
    ({"equals": 1.0, "within": 0.0}, "within=0.0; equals needs a margin"),
    ({"equals": 1.0, "within": math.inf}, "within=inf; equals needs"),
    ({"equals": math.inf, "within": 1.0}, "the number is inf"),
    ({"above": math.nan}, "the number is nan"),
    ({"above": 1.0, "within": 1.0}, "within=1.0 belongs to same_as and equals"),
    ({"better_than": "y", "within": 0.0}, "within=0.0 belongs to same_as and equals"),
    ({"above": 1.0, "by": 1.0}, "by=1.0 belongs to better_than"),
    ({"same_as": "y", "within": 1.0, "by": 1.0}, "by=1.0 belongs to better_than"),
]


@pytest.mark.parametrize(("given", "complaint"), WRONG)
def test_a_claim_that_says_nothing_or_two_things_is_refused(given, complaint):
    with pytest.raises(InputError) as error:
        claim("so it is", "loss", "x", **given)
    assert str(error.value).startswith("claim 'so it is': ") and complaint in str(error.value)


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_claim_has_words(text):
    with pytest.raises(InputError, match="the text is empty"):
        claim(text, "loss", "x", above=0.0)


def test_a_number_may_be_0():
    assert [claim("c", "loss", "x", **{kind: 0.0}).value for kind in ("above", "below")] == [0.0, 0.0]
    assert claim("c", "loss", "x", equals=0.0, within=1.0).kind == "equals"


ARMS = ("gpt", "bert", "xlnet")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"one": "gtp"}, "unknown arm 'gtp'; did you mean 'gpt'?"),
        ({"other": "brt"}, "unknown arm 'brt'; did you mean 'bert'?"),
        ({"other": "rnn"}, "unknown arm 'rnn'; it is one of gpt, bert, xlnet."),
        ({"metric": "los"}, "unknown metric 'los'; did you mean 'loss'?"),
        ({"metric": "accuracy"}, "accuracy cannot be asked of gpt"),
        ({"metric": "accuracy", "one": "xlnet", "other": "gpt"}, "accuracy cannot be asked of gpt"),
    ],
)
def test_a_claim_about_what_is_not_there_is_refused(changes, complaint):
    good = claim("c", "loss", "gpt", better_than="bert")

    def asked(metric, arm):
        return (metric, arm) != ("accuracy", "gpt")

    check_claims([good, dataclasses.replace(good, metric="accuracy", one="bert", other=None)], ARMS, METRICS, asked)
    with pytest.raises(InputError) as error:
        check_claims([good, dataclasses.replace(good, **changes)], ARMS, types.MappingProxyType(METRICS), asked)
    assert str(error.value).startswith("claim 'c': ") and complaint in str(error.value)
