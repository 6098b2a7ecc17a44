"""The yardsticks: every arm by every metric that all can be asked, and whether their order hangs on the matching."""

import itertools
from collections.abc import Iterator

from ablation.results import Metric, Ranking, Results
from report.amounts import NONE, interval, listed, number
from report.document import Block, Heading, Items, Paragraph, Section, Span, Table, Words


def section(results: Results) -> Section | None:
    """A table for each matching, then the rankings side by side."""
    if not results.measurements:
        return None
    return Section("The yardsticks", (*_tables(results), *_survival(results)))


def best(results: Results, matching: str, metric: Metric) -> str | None:
    """The arm that leads, if the paired interval of its lead over every other arm excludes 0."""
    ranking = _ranking(results, matching, metric.name)
    if ranking is None or len(ranking.arms) < 2:
        return None
    first, *others = ranking.arms
    return first if all(_leads(results, matching, metric, first, other) for other in others) else None


def flips(base: Ranking, other: Ranking) -> list[tuple[str, str]]:
    """Pairs of arms that change places: who comes first in `other`, and who came first in `base`."""
    place = {arm: i for i, arm in enumerate(other.arms)}
    shared = [arm for arm in base.arms if arm in place]
    return [(late, early) for early, late in itertools.combinations(shared, 2) if place[late] < place[early]]


def _leads(results: Results, matching: str, metric: Metric, first: str, other: str) -> bool:
    sign = -1 if metric.better == "less" else 1
    for effect in results.effects:
        if (effect.matching, effect.metric) == (matching, metric.name) and {effect.one, effect.other} == {first, other}:
            toward = sign if effect.one == first else -sign
            return min(toward * effect.mean.low, toward * effect.mean.high) > 0
    return False


def _ranking(results: Results, matching: str, metric: str) -> Ranking | None:
    found = (own for own in results.rankings if (own.matching, own.metric) == (matching, metric))
    return next(found, None)


def _tables(results: Results) -> Iterator[Block]:
    yield Items(
        tuple(
            ([Span(metric.name, "strong"), f" ({metric.unit}, {metric.better} is better): {metric.meaning}"])
            for metric in results.metrics
        )
    )
    head = ("arm", *(f"{metric.name}, {metric.unit}" for metric in results.metrics))
    for matching in results.matchings:
        measured = {(own.arm, own.metric): own.mean for own in results.measurements if own.matching == matching}
        if measured:
            leaders = {metric.name: best(results, matching, metric) for metric in results.metrics}
            yield Heading(f"Matched by {matching}")
            rows = tuple((arm.name, *_cells(arm.name, measured, leaders)) for arm in results.arms)
            yield Table(f"Yardsticks, matched by {matching}", head, rows, left=("arm",))
    yield Paragraph(
        "In parentheses the 95 % interval over seeds and items. ★ is the best of a column, where the interval of the "
        "paired difference from every other arm excludes 0; a column without a ★ has no arm of which that is true."
    )


def _cells(arm: str, measured: dict, leaders: dict[str, str | None]) -> Iterator[Words]:
    for metric, leader in leaders.items():
        found = measured.get((arm, metric))
        if found is None:
            yield NONE
        else:
            yield [Span(f"★ {interval(found)}", "strong")] if leader == arm else interval(found)


def _survival(results: Results) -> Iterator[Block]:
    """Nothing where there is one matching: it has nothing to survive."""
    if len(results.matchings) < 2 or not results.rankings:
        return
    yield Heading("Does the ranking survive the matching?")
    metrics = [metric for metric in results.metrics if any(own.metric == metric.name for own in results.rankings)]
    rows = tuple(
        (metric.name, *(_order(_ranking(results, matching, metric.name)) for matching in results.matchings))
        for metric in metrics
    )
    head = ("metric", *(f"matched by {matching}" for matching in results.matchings))
    yield Table("Rankings under each matching", head, rows, left=head)
    yield Items(tuple(_sentence(results, metric) for metric in metrics))
    yield Paragraph("The orders are those of the means; whether two arms differ at all is for the effects to say.")


def _order(ranking: Ranking | None) -> str:
    if ranking is None:
        return NONE
    return ", ".join(f"{arm} ({number(mean)})" for arm, mean in zip(ranking.arms, ranking.means, strict=True))


def _sentence(results: Results, metric: Metric) -> Words:
    """Whether the arms stand in one order, or who overtakes whom."""
    found = [(name, _ranking(results, name, metric.name)) for name in results.matchings]
    (first, base), *others = [(name, ranking) for name, ranking in found if ranking is not None]
    name = Span(metric.name, "strong")
    if not others:
        return [name, f": ranked under {first} alone."]
    if any(set(ranking.arms) != set(base.arms) for _, ranking in others):
        return [name, ": not the same arms are ranked under all matchings."]
    changed = [
        f"matched by {matching} instead of {first}, {_overtaken(results, metric, (first, matching), pairs)}"
        for matching, ranking in others
        if (pairs := flips(base, ranking))
    ]
    if changed:
        return [name, f": the order does not survive: {'; '.join(changed)}."]
    same = "both" if len(others) == 1 else f"all {len(others) + 1}"
    return [name, f": the same order under {same} matchings."]


def _overtaken(results: Results, metric: Metric, matchings: tuple[str, str], pairs: list[tuple[str, str]]) -> str:
    """Who overtakes whom, and whether that is more than noise: both differences must be told from 0."""
    before, after = matchings
    found = []
    for late, early in pairs:
        clear = _leads(results, before, metric, early, late) and _leads(results, after, metric, late, early)
        found.append(f"{late} overtakes {early}{'' if clear else ' (not both differences are told from 0)'}")
    return listed(found)
