"""What the arms spent: tokens, predictions, FLOPs and seconds side by side, whatever they were matched by."""

from collections.abc import Iterator

from ablation.results import Arm, Ledger, Results
from report.amounts import count, fixed, share
from report.document import Bar, Block, Heading, Paragraph, Section, Table, Words

_HEAD = (
    "arm",
    "objective",
    "parameters",
    "steps",
    "epochs",
    "tokens read",
    "predicted",
    "FLOPs",
    "seconds",
    "of the budget",
)


def section(results: Results) -> Section | None:
    """A table for each matching."""
    return Section("Budgets", tuple(_blocks(results))) if results.ledgers else None


def _blocks(results: Results) -> Iterator[Block]:
    yield Paragraph(
        "Arms that are matched by one measure differ in the others: an objective that predicts every seventh token "
        "learns from fewer predictions of as many tokens. Tokens are without padding; FLOPs are of forward and "
        "backward passes, by formula; seconds are of the steps alone. All are of one run, of one seed."
    )
    for matching in results.matchings:
        own = {ledger.arm: ledger for ledger in results.ledgers if ledger.matching == matching}
        if own:
            yield Heading(f"Matched by {matching}")
            rows = tuple(_row(arm, own[arm.name]) for arm in results.arms if arm.name in own)
            yield Table(f"Budgets, matched by {matching}", _HEAD, rows, left=("arm", "objective"))


def _row(arm: Arm, ledger: Ledger) -> tuple[Words, ...]:
    return (
        arm.name,
        arm.objective,
        count(arm.parameters),
        count(ledger.steps),
        fixed(ledger.epochs, 2),
        count(ledger.tokens),
        count(ledger.predicted),
        count(ledger.flops),
        fixed(ledger.seconds, 1),
        [share(ledger.share), Bar(ledger.share)],
    )
