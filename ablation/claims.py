"""Claims are written before the run; an exact test over paired seeds says what becomes of each.

A verdict is about other seeds on the same items; the interval beside it is about other items as well.

PASS rejects the hypothesis that the claim is false, FAIL the one that it is true. A mean is within a margin or it is
not: one of the two hypotheses is true, the other is not, and the verdict is wrong only if the p of the true one is
small. That happens as rarely as p says, whichever it is: the smaller p decides, and pays nothing for being the smaller.
"Better", "above" and "below" have a third case, neither one nor the other, as of an arm and itself. There PASS and FAIL
are both wrong, and p is two-sided.

All claims of a suite are one family (Holm 1979): its probability of any rejection of a true hypothesis is at most
alpha. That wrong directions are bounded with it is proven for independent claims and common distributions (Shaffer
1980); of claims that share arms and seeds, tests/test_claims.py asks it.
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64

from ablation.bootstrap import crossed, ratios
from ablation.results import Interval, Metric, Outcome, Verdict
from ablation.significance import equivalence, holm, outside, seeds_needed, sign_flip
from batch import InputError
from evaluation.statistics import DRAWS

Kind = Literal["better", "same", "equals", "above", "below"]
Values = Callable[[str, str], tuple[Float64[np.ndarray, "S U"], Float64[np.ndarray, "S U"]]]
"""Metric and arm to totals and weights, for the same seeds and items whatever is asked."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence about arms that a run can prove wrong; `claim` writes it."""

    text: str
    metric: str
    one: str
    kind: Kind
    other: str | None  # the arm that `one` is compared with; None: a number is
    value: float  # the number of "equals", "above" and "below"; by how much "better"; 0 of "same"
    within: float  # the margin of "same" and "equals"; 0 of others
    expected: bool  # a closed form, which must PASS


def claim(
    text: str,
    metric: str,
    one: str,
    *,
    better_than: str | None = None,
    by: float = 0.0,
    same_as: str | None = None,
    equals: float | None = None,
    above: float | None = None,
    below: float | None = None,
    within: float | None = None,
    expected: bool = False,
) -> Claim:
    """What `text` says of the arm `one`, in the unit of the metric; exactly one of five kinds.

    - `better_than` an arm by more than `by`, in the direction that is better of the metric
    - `same_as` an arm: their difference is `within` a margin
    - `equals` a number, a closed form, `within` a margin
    - `above` a number
    - `below` a number
    """
    kinds: dict[Kind, str | float | None] = {
        "better": better_than,
        "same": same_as,
        "equals": equals,
        "above": above,
        "below": below,
    }
    given: list[tuple[Kind, str | float]] = [(kind, what) for kind, what in kinds.items() if what is not None]
    if len(given) != 1:
        named = ", ".join(kind for kind, _ in given) or "none"
        raise InputError(f"claim {text!r}: {named} given; give one of better_than, same_as, equals, above and below.")
    kind, what = given[0]
    other, value = (what, float(by)) if isinstance(what, str) else (None, float(what))
    _check(text, one, kind, other, value, by, within)
    return Claim(text, metric, one, kind, other, value, within or 0.0, expected)


def _check(text: str, one: str, kind: Kind, other: str | None, value: float, by: float, within: float | None) -> None:
    if not text.strip():
        raise InputError(f"claim about {one}: the text is empty; say what is claimed.")
    if one == other:
        raise InputError(f"claim {text!r}: {one} is compared with itself; name another arm.")
    if not math.isfinite(value):
        raise InputError(f"claim {text!r}: the number is {value}; it must be finite.")
    if by and kind != "better":
        raise InputError(f"claim {text!r}: by={by} belongs to better_than; remove it.")
    if by < 0:
        raise InputError(f"claim {text!r}: by={by}; it must be at least 0.")
    if kind not in ("same", "equals"):
        if within is not None:
            raise InputError(f"claim {text!r}: within={within} belongs to same_as and equals; remove it.")
    elif within is None or not 0 < within < math.inf:  # exactly the same is nothing that numbers can show
        raise InputError(f"claim {text!r}: within={within}; {kind} needs a margin, finite and more than 0.")


def check_claims(
    claims: Sequence[Claim],
    arms: Collection[str],
    metrics: Mapping[str, Metric],
    asked: Callable[[str, str], bool],
) -> None:
    """InputError for a claim about an arm or a metric that is not there, or of an arm that the metric cannot ask."""
    for each in claims:
        _check_name(each.text, "metric", each.metric, metrics)
        for arm in (each.one, each.other):
            if arm is None:
                continue
            _check_name(each.text, "arm", arm, arms)
            if not asked(each.metric, arm):
                raise InputError(f"claim {each.text!r}: {each.metric} cannot be asked of {arm}; claim something else.")


def _check_name(text: str, what: str, name: str, names: Collection[str]) -> None:
    if name in names:
        return
    near = difflib.get_close_matches(name, names, 1)
    remedy = f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(names) or 'none'}."
    raise InputError(f"claim {text!r}: unknown {what} {name!r}; {remedy}")


def verdicts(
    claims: Sequence[Claim], values: Values, metrics: Mapping[str, Metric], alpha: float, *, draws: int = DRAWS
) -> tuple[Verdict, ...]:
    """What became of each claim; the probability of a false PASS or FAIL, of any of them, is at most `alpha`.

    A claim has no verdict where a seed has no finite value, and with fewer seeds than `seeds_needed`.
    """
    tests = [_test(each, values, metrics[each.metric], draws) for each in claims]
    p = np.array([test.p for test in tests], np.float64)
    # The family is what was written down: a claim whose numbers are lost is not rejected, but makes no room either.
    adjusted = np.where(np.isnan(p), math.nan, holm(np.where(np.isnan(p), 1.0, p)))
    decided = []
    for each, test, level in zip(claims, tests, adjusted.tolist(), strict=True):
        outcome, reason = _outcome(each, metrics[each.metric], test, level, alpha, len(claims))
        unit = metrics[each.metric].unit
        words, by_seed = _statement(each, metrics[each.metric]), tuple(test.by_seed.tolist())
        decided.append(
            Verdict(each.text, words, outcome, test.value, by_seed, test.p, level, reason, each.expected, unit)
        )
    return tuple(decided)


@dataclasses.dataclass(frozen=True, eq=False)
class _Test:
    by_seed: Float64[np.ndarray, " S"]  # of the arm, or what it has more than the other
    value: Interval
    p: float
    holds: bool  # PASS is what p speaks for


def _test(each: Claim, values: Values, metric: Metric, draws: int) -> _Test:
    one = values(each.metric, each.one)
    other = None if each.other is None else values(each.metric, each.other)
    by_seed = ratios(*one) if other is None else ratios(*one) - ratios(*other)
    interval = crossed(*one, other, draws=draws)
    if each.kind in ("same", "equals"):
        off = by_seed - each.value
        near, far = equivalence(off, each.within), outside(off, each.within)
        return _Test(by_seed, interval, min(near, far), near <= far)
    threshold, more = _threshold(each, metric)
    p = sign_flip(by_seed - threshold, "two-sided")
    return _Test(by_seed, interval, p, bool(by_seed.mean() > threshold) == more)


def _threshold(each: Claim, metric: Metric) -> tuple[float, bool]:
    """What is compared with the mean, and whether the mean is more if the claim holds."""
    if each.kind == "better":
        return (each.value, True) if metric.better == "more" else (0 - each.value, False)  # no -0 is printed
    return each.value, each.kind == "above"


def _outcome(
    each: Claim, metric: Metric, test: _Test, adjusted: float, alpha: float, claims: int
) -> tuple[Outcome, str]:
    """The outcome and its reason, a sentence with the numbers that decide."""
    what = each.one if each.other is None else f"{each.one} - {each.other}"
    seeds, needed = len(test.by_seed), seeds_needed(claims, alpha)
    if math.isnan(test.p):
        lost = int(np.isnan(test.by_seed).sum())
        return (
            "NO VERDICT",
            f"{what} is no finite number in {lost} of {seeds} seeds: a run diverged or measured nothing.",
        )
    if seeds < needed:
        family = f"to decide a claim of {claims} at alpha = {alpha:g}"
        return "NO VERDICT", f"Seeds: {seeds}; {family}, {needed} are needed."
    if_true, if_false = _places(each, metric)
    found = f"{what} is {test.value.value:.4g} {metric.unit} in the mean of {seeds} seeds"
    level = f"(p = {test.p:.3g}, adjusted {adjusted:.3g})"
    if adjusted > alpha:
        return "INCONCLUSIVE", f"{found}, not clearly {if_true} nor {if_false} {level}."
    return ("PASS", f"{found}, {if_true} {level}.") if test.holds else ("FAIL", f"{found}, {if_false} {level}.")


def _places(each: Claim, metric: Metric) -> tuple[str, str]:
    """Where the mean lies if the claim is true, and if it is false."""
    if each.kind in ("same", "equals"):
        return f"within {each.within:g} of {each.value:g}", f"farther than {each.within:g} from {each.value:g}"
    threshold, more = _threshold(each, metric)
    above, below = f"above {threshold:g}", f"below {threshold:g}"
    return (above, below) if more else (below, above)


def _statement(each: Claim, metric: Metric) -> str:
    """What is tested, as a formula in the metric's unit; without bars, which would end a cell of a Markdown table."""
    if each.kind in ("same", "equals"):
        return f"{metric.name}: {each.one} = {each.other or f'{each.value:g}'} ± {each.within:g}"
    threshold, more = _threshold(each, metric)
    sign = ">" if more else "<"
    if each.other is None:
        return f"{metric.name}: {each.one} {sign} {threshold:g}"
    by = f" {'+' if more else '-'} {each.value:g}" if each.value else ""
    return f"{metric.name}: {each.one} {sign} {each.other}{by}"
