"""What became of the claims: the first thing that a reader of an ablation should see, failures included."""

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from ablation.results import Outcome, Results, Verdict
from report.amounts import interval, listed, probability
from report.document import Block, Paragraph, Section, Span, Table, Words

SIGNS: dict[Outcome, str] = {"PASS": "✓", "FAIL": "✗", "INCONCLUSIVE": "?", "NO VERDICT": "–"}
"""Before the words, for who tells colors apart badly."""

_HEAD = ("verdict", "claim", "tested", "value (95 % interval)", "p", "adjusted p", "reason")


def section(results: Results) -> Section:
    """The verdicts, or one sentence where the suite claims nothing."""
    if not results.verdicts:
        return Section("Verdicts", (Paragraph("The suite makes no claims, so there are no verdicts."),))
    return Section("Verdicts", tuple(_blocks(results)))


def _blocks(results: Results) -> Iterator[Block]:
    counts = Counter(verdict.outcome for verdict in results.verdicts)
    claims = f"{len(results.verdicts)} claims" if len(results.verdicts) > 1 else "One claim"
    found = listed([f"{counts[outcome]} {outcome}" for outcome in get_args(Outcome) if counts[outcome]])
    yield Paragraph(f"{claims} written before the run: {found}. {_power(results)}")
    decided = [verdict for verdict in results.verdicts if verdict.outcome != "NO VERDICT"]
    broken = [verdict.claim for verdict in decided if verdict.expected and verdict.outcome != "PASS"]
    if broken:
        words = f"A closed form did not pass ({'; '.join(broken)}): trust no other number here before it does."
        yield Paragraph([Span(words, "strong")])
    yield Table("Verdicts", _HEAD, tuple(map(_row, results.verdicts)), left=("verdict", "claim", "tested", "reason"))
    yield Paragraph(
        "p is of the test that decides; adjusted p corrects for the number of claims by Holm's method, and is what is "
        f"compared with {results.alpha:g}."
    )


def _power(results: Results) -> str:
    """How many seeds a verdict needs, and how many there are."""
    have, need = len(results.seeds), results.seeds_needed
    there = "there is 1" if have == 1 else f"there are {have}"
    if have < need:
        return f"At level {results.alpha:g} no claim can be decided with fewer than {need} seeds, and {there}."
    return f"At level {results.alpha:g} a decision needs at least {need} seeds, and {there}."


def _row(verdict: Verdict) -> tuple[Words, ...]:
    claim = f"{verdict.claim} (closed form, must pass)" if verdict.expected else verdict.claim
    return (
        [Span(f"{SIGNS[verdict.outcome]} {verdict.outcome}", verdict.outcome)],
        claim,
        verdict.statement,
        f"{interval(verdict.value)} {verdict.unit}".strip(),
        probability(verdict.p),
        probability(verdict.adjusted),
        verdict.reason,
    )
