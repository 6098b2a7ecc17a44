"""Where the results come from: how the arms are set, what they ran on, and how to get all of it again."""

import datetime
from collections.abc import Iterator

from ablation.results import Results
from report.amounts import NONE, count, setting
from report.document import Block, Code, Paragraph, Section, Table

SAME = "·"
"""Where an arm leaves a field as the base of the suite has it."""


def configuration(results: Results) -> Section:
    """The arms, and every field that one of them changes."""
    head = ("arm", "model", "objective", "parameters")
    rows = tuple((arm.name, arm.model, arm.objective, count(arm.parameters)) for arm in results.arms)
    return Section("Configuration", (Table("Arms", head, rows, left=head[:3]), *_differences(results)))


def environment(results: Results) -> Section:
    """The commit, the versions, and the command."""
    origin = results.origin
    facts = {"commit": origin.commit or "not in a repository", "date": origin.date, "time": _time(origin.seconds)}
    rows = tuple((name, value or NONE) for name, value in (facts | origin.environment).items())
    return Section("How to get this again", tuple(_origin(origin.command, origin.commit.endswith("+"), rows)))


def _differences(results: Results) -> Iterator[Block]:
    fields = list(dict.fromkeys(field for arm in results.arms for field in arm.changes))
    if not fields:
        yield Paragraph("No arm changes a field of the base.")
        return
    yield Paragraph(f"Fields in which an arm differs from the base of the suite; {SAME} is as in the base.")
    head = ("field", *(arm.name for arm in results.arms))
    rows = tuple(
        (field, *(setting(arm.changes[field]) if field in arm.changes else SAME for arm in results.arms))
        for field in fields
    )
    yield Table("Configuration of the arms", head, rows, left=head)


def _origin(command: str, changed: bool, rows: tuple[tuple[str, str], ...]) -> Iterator[Block]:
    yield Code(command)
    if changed:
        yield Paragraph("Files of the checkout were changed after this commit: the commit alone does not repeat this.")
    yield Table("Environment", ("", "value"), rows, left=("", "value"))
    yield Paragraph("The numbers behind this page are in results.json beside it.")


def _time(seconds: float) -> str:
    return NONE if seconds != seconds else str(datetime.timedelta(seconds=round(seconds)))
