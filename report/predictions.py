"""Blanks in held-out text, and what each arm would put there."""

from collections.abc import Iterator

from ablation.results import Blank, Results
from report.amounts import NONE, number
from report.document import Bar, Block, Heading, Paragraph, Section, Span, Table, Words


def section(results: Results) -> Section | None:
    """A sentence for each blank, and the likeliest answers of each arm."""
    return Section("Predictions", tuple(_blocks(results))) if results.blanks else None


def _blocks(results: Results) -> Iterator[Block]:
    yield Paragraph(
        "Every arm of the first seed was asked for the marked token of held-out text; ✓ is the right answer."
    )
    for i, blank in enumerate(results.blanks, start=1):
        yield Heading(f"Blank {i}")
        yield Paragraph([blank.before, Span(blank.truth, "blank"), blank.after])
        most = max((len(answers) for answers in blank.answers.values()), default=0)
        head = ("arm", "of the truth", *(f"answer {n}" for n in range(1, most + 1)))
        rows = tuple(_row(blank, arm.name, most) for arm in results.arms if arm.name in blank.answers)
        yield Table(f"Answers to blank {i}", head, rows, left=tuple(name for name in head if name != "of the truth"))


def _row(blank: Blank, arm: str, most: int) -> tuple[Words, ...]:
    truth = blank.truth_probability.get(arm)
    answers = [_answer(token, p, token == blank.truth) for token, p in blank.answers[arm]]
    return (arm, NONE if truth is None else number(truth), *answers, *[NONE] * (most - len(answers)))


def _answer(token: str, p: float, right: bool) -> Words:
    return [Span(token, "token"), f" {p:.3f}{' ✓' if right else ''}", Bar(p)]
