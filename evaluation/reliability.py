"""Answers side by side: how good they are, by how much one model's are better, and whether they are as good as said."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from evaluation.calibration import (
    BINS,
    Answers,
    bins,
    calibrated_error,
    calibration_error,
    mean,
    overconfidence,
    wilson,
)
from evaluation.figures import GRAY, blank, color, short
from evaluation.statistics import Estimate
from evaluation.tables import estimate_values, markdown
from training.metrics import json_value

NOT_ASKED = "not asked"
HEAD = (
    "model",
    "questions",
    "nats",
    "accuracy",
    "Brier",
    "ECE",
    "if calibrated",
    "ECE, equal widths",
    "over-confidence",
)


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """Answers, and whose they are.

    A `bound` says that they weigh only some of what could stand there: the loss is at least, the accuracy at most so.
    """

    model: str
    answers: Answers
    bound: bool = False


def answer_table(rows: Sequence[Row], chance: float | None = None) -> str:
    """One line a model, with 95 % intervals; last one that gives `chance` to each of as many choices."""
    cells = [_cells(row) for row in rows]
    if chance is not None:
        cells.append(["chance", "-", f"{-math.log(chance):.3f}", f"{chance:.3f}", f"{1 - chance:.3f}", *["-"] * 4])
    return markdown(HEAD, cells, left=("model",))


def answer_values(row: Row) -> dict[str, Any]:
    """The same as JSON values; of a bound, only what it bounds."""
    answers = row.answers
    values = {
        "model": row.model,
        "questions": len(answers.log_p),
        "nats": estimate_values(mean(answers, -answers.log_p)),
        "accuracy": estimate_values(mean(answers, answers.right.astype(np.float64))),
    }
    if row.bound:
        values["nats"]["bound"], values["accuracy"]["bound"] = "lower", "upper"
        return values
    return {
        **values,
        "brier": estimate_values(mean(answers, answers.brier)),
        "ece": estimate_values(calibration_error(answers, "equal mass")),
        "ece_if_calibrated": calibrated_error(answers, "equal mass"),
        "ece_equal_width": estimate_values(calibration_error(answers, "equal width")),
        "overconfidence": estimate_values(overconfidence(answers)),
        "bins": {name: values.tolist() for name, values in vars(bins(answers, "equal width")).items()},
    }


def differences(rows: Sequence[Row]) -> tuple[list[str], list[dict[str, Any]]]:
    """How much more the first of each pair loses, and is right, on the same questions: a table, if any, and values."""
    cells, values = [], []
    for one, other in itertools.combinations([row for row in rows if not row.bound], 2):
        mine, theirs = one.answers, other.answers
        if not np.array_equal(mine.unit, theirs.unit):
            continue
        loss = mean(mine, theirs.log_p - mine.log_p)
        right = mean(mine, mine.right.astype(np.float64) - theirs.right)
        cells.append([one.model, other.model, _cell(loss, "+.3f"), f"{loss.z:+.1f}", _cell(right, "+.3f")])
        nats = {**estimate_values(loss), "z": json_value(loss.z)}
        values.append({"model": one.model, "minus": other.model, "nats": nats, "accuracy": estimate_values(right)})
    head = ("model", "minus", "nats", "z", "accuracy")
    return [markdown(head, cells, left=("model", "minus"))] if cells else [], values


def reliability(rows: Sequence[Row]) -> Figure:
    """How often each model is right that is so sure (Guo et al. 2017), above how many answers are."""
    figure = blank(2, len(rows), width=3.0, height=2.0, sharex=True, sharey="row",
                   gridspec_kw={"height_ratios": [2.2, 1]})  # fmt: skip
    panels = zip(rows, short([row.model for row in rows]), figure.axes, figure.axes[len(rows) :], strict=False)
    for i, (row, name, above, below) in enumerate(panels):
        found = bins(row.answers, "equal width")
        some = found.count > 0
        accuracy, (low, high) = found.accuracy[some], wilson(found.accuracy[some], found.count[some])
        above.plot([0, 1], [0, 1], color=GRAY, linewidth=1, linestyle="--")
        above.errorbar(found.confidence[some], accuracy, [accuracy - low, high - accuracy], color=color(i), fmt="o",
                       markersize=5, linewidth=1.2, capsize=2, clip_on=False)  # fmt: skip
        above.set_title(name, fontsize=10)
        below.bar((np.arange(BINS) + 0.5) / BINS, found.count, width=0.9 / BINS, color=color(i))
        below.set(xlabel="confidence", yscale="log")
        below.yaxis.set_major_formatter("{x:,.0f}")
    figure.axes[0].set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    figure.axes[len(rows)].set(ylabel="answers", ylim=(0.6, None))
    return figure


def _cells(row: Row) -> list[str]:
    answers = row.answers
    loss, right = mean(answers, -answers.log_p), mean(answers, answers.right.astype(np.float64))
    if row.bound:
        return [row.model, f"{len(answers.log_p):,}", f">= {_cell(loss)}", f"<= {_cell(right)}", *[NOT_ASKED] * 5]
    errors = [calibration_error(answers, "equal mass"), calibration_error(answers, "equal width")]
    return [
        row.model,
        f"{len(answers.log_p):,}",
        *(_cell(each) for each in (loss, right, mean(answers, answers.brier), errors[0])),
        f"{calibrated_error(answers, 'equal mass'):.3f}",
        _cell(errors[1]),
        _cell(overconfidence(answers), "+.3f"),
    ]


def _cell(found: Estimate, form: str = ".3f") -> str:
    interval = "" if math.isnan(found.low) else f" [{found.low:{form}}, {found.high:{form}}]"
    return f"{found.value:{form}}{interval}"
