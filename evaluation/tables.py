"""Tables of scores, in Markdown that is readable as it is; a table never mixes what cannot be compared."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from batch import InputError
from evaluation.orders import Consistency
from evaluation.pseudo import perplexity
from evaluation.scores import Score
from evaluation.statistics import Estimate, bits_per_byte, nats_per_token, sampling_error
from training.metrics import json_value


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """A score and whose it is."""

    model: str
    score: Score
    lossless: bool = True  # the tokens decode to the text, so that they have its bytes


def score_table(rows: Sequence[Row]) -> str:
    """One line a score. Raises InputError where some are likelihoods and some are not."""
    check_comparable([row.score for row in rows])
    likelihood = rows[0].score.normalised
    size = "bits/byte" if likelihood else "pseudo-bits/byte"
    head = ["model", "score", size, "95% interval", "± sample", "nats/token", "PPL" if likelihood else "PPPL"]
    head += ["leaked", "passes", "GFLOP", "predicted from"]
    return markdown(head, [_cells(row) for row in rows], left=("model", "score", "predicted from"))


def check_comparable(scores: Sequence[Score]) -> None:
    """Raises InputError unless all scores are likelihoods, or none is."""
    likelihoods = [score.name for score in scores if score.normalised]
    others = [score.name for score in scores if not score.normalised]
    if likelihoods and others:
        raise InputError(
            f"scores={likelihoods[0]} and {others[0]}: the first is a likelihood and the second is not, so that one "
            "column cannot hold both; print two tables."
        )


def score_values(row: Row) -> dict[str, Any]:
    """The same as JSON values, with what the score is."""
    score = row.score
    found = {"bits_per_byte": estimate_values(bits_per_byte(score))} if row.lossless else {}
    return {
        "model": row.model,
        "score": score.name,
        "normalised": score.normalised,
        "context": score.context,
        **found,
        "nats_per_token": estimate_values(nats_per_token(score)),
        "perplexity" if score.normalised else "pseudo_perplexity": json_value(perplexity(score)),
        "sampling_error": sampling_error(score) if row.lossless else None,
        "leaked": score.leaked,
        "passes": score.passes,
        "flops": score.flops,
        "tokens": len(score.tokens.weight),
        "asked": int((score.tokens.weight > 0).sum()),
        "bytes": int(score.tokens.byte_length.sum()),
    }


def estimate_values(estimate: Estimate) -> dict[str, Any]:
    """A number with its interval as JSON values."""
    return {name: json_value(value) for name, value in dataclasses.asdict(estimate).items()}


def difference_table(differences: Sequence[tuple[str, str, Estimate]], of: str = "bits/byte") -> str:
    """What the first model has more than the second, on the same text or items."""
    cells = [
        [one, other, f"{found.value:+.4f}", _interval(found, "+.4f"), f"{found.z:+.1f}", found.unit]
        for one, other, found in differences
    ]
    head = ["model", "minus", of, "95% interval", "z", "paired by"]
    return markdown(head, cells, left=("model", "minus", "paired by"))


def order_table(found: Sequence[tuple[str, Consistency]]) -> str:
    """What random orders say of each model."""
    cells = [
        [model, str(one.orders), f"{one.mean:.4f}", _number(one.mixture, ".4f"), f"{one.spread:.4f}"]
        for model, one in found
    ]
    return markdown(["model", "orders", "mean bits/byte", "their mixture", "spread"], cells, left=("model",))


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str]) -> str:
    """A table whose columns align: text left, numbers right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    align = [str.ljust if name in left else str.rjust for name in head]
    rule = ["-" * width if name in left else "-" * (width - 1) + ":" for name, width in zip(head, widths, strict=True)]
    lines = [
        [place(cell, width) for place, cell, width in zip(align, row, widths, strict=True)] for row in (head, *rows)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def _cells(row: Row) -> list[str]:
    score = row.score
    size, spread, sample = "-", "-", "-"
    if row.lossless:
        found = bits_per_byte(score)
        size, spread = f"{found.value:.4f}", _interval(found, ".4f")
        sample = f"{error:.4f}" if (error := sampling_error(score)) else "-"
    cells = [row.model, score.name, size, spread, sample]
    cells += [f"{nats_per_token(score).value:.4f}", f"{perplexity(score):,.2f}", f"{score.leaked:.2e}"]
    return [*cells, f"{score.passes:,.1f}", f"{score.flops / 1e9:,.3f}", score.context]


def _interval(found: Estimate, form: str) -> str:
    return "-" if math.isnan(found.low) else f"{found.low:{form}} to {found.high:{form}}"


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else f"{value:{form}}"
