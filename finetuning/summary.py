"""Scores over seeds as a table and as JSON values, the spread always beside the mean."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from finetuning.task import Sets
from finetuning.trials import Outcome, Summary
from training.metrics import json_value

ARMS = {"pretrained": "pretrained", "scratch": "from scratch"}


def table(sets: Sets, summaries: Sequence[Summary], majority: Mapping[str, float]) -> str:
    """One line an arm: each metric on the dev set in percent, mean ± standard deviation over seeds, and each seed's."""
    metrics = sets.task.metrics
    rows = [["arm", "rate", *metrics, f"{metrics[0]} by seed"]]
    for own in summaries:
        cells = [f"{100 * own.mean(name):.1f} ± {spread(100 * own.deviation(name))}" for name in metrics]
        seeds = " ".join(f"{100 * value:.1f}" for value in own.values(metrics[0]))
        rows.append([ARMS[own.arm], f"{own.rate:g}", *cells, seeds])
    rows.append([baseline(sets), "", *(f"{100 * majority[name]:.1f}" for name in metrics), ""])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def spread(deviation: float) -> str:
    """A standard deviation; of one seed there is none."""
    return "?" if math.isnan(deviation) else f"{deviation:.1f}"


def baseline(sets: Sets) -> str:
    """What answers without looking."""
    return "mean" if sets.task.kind == "regression" else "majority"


def values(sets: Sets, outcomes: Sequence[Outcome], summaries: Sequence[Summary], majority: Mapping[str, float]) -> Any:
    """The same and every trial, as JSON values."""
    names = (*sets.task.metrics, "score")
    arms = {
        own.arm: {
            "rate": own.rate,
            "mean": {name: own.mean(name) for name in names},
            "deviation": {name: json_value(own.deviation(name)) for name in names},
            "seeds": {str(each.trial.seed): dict(each.values) for each in own.outcomes},
        }
        for own in summaries
    }
    trials = [
        {"arm": each.trial.arm, "rate": each.trial.rate, "seed": each.trial.seed, "step": each.step, **each.values}
        for each in outcomes
    ]
    examples = {"train": len(sets.train), "dev": len(sets.dev)}
    return {
        "task": sets.task.name,
        "metrics": list(sets.task.metrics),
        "examples": examples,
        "arms": arms,
        baseline(sets): dict(majority),
        "trials": trials,
    }
