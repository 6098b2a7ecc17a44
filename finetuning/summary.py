"""Scores over seeds as a table and as JSON values, the spread always beside the mean."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from finetuning.task import Sets
from finetuning.trials import Outcome, Summary
from training.metrics import json_value

ARMS = {"pretrained": "pretrained", "scratch": "from scratch"}


def table(sets: Sets, summaries: Sequence[Summary], majority: Mapping[str, float]) -> str:
    """One line an arm: each metric on the dev set in percent, mean ± standard deviation over seeds, and each seed's.

    Beside them stand those on further sets, as SET/METRIC, a question mark where a seed was finished without the set.
    An arm of which a seed diverged at its best rate has no mean: the line says so.
    """
    metrics = sets.measures
    rows = [["arm", "rate", *metrics, f"{metrics[0]} by seed"]]
    for own in summaries:
        seeds = " ".join(percent(value, "diverged") for value in own.values(metrics[0]))
        rows.append([ARMS[own.arm], f"{own.rate:g}", *(cell(own, name) for name in metrics), seeds])
    rows.append([baseline(sets), "", *(percent(majority[name]) for name in metrics), ""])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def cell(summary: Summary, name: str) -> str:
    """The mean of a metric ± its standard deviation, of which one seed has none."""
    return "diverged" if summary.diverged else f"{percent(summary.mean(name))} ± {percent(summary.deviation(name))}"


def percent(value: float, nan: str = "?") -> str:
    """A number of a table, and what stands for one that there is not."""
    return nan if math.isnan(value) else f"{100 * value:.1f}"


def baseline(sets: Sets) -> str:
    """What answers without looking."""
    return "mean" if sets.task.kind == "regression" else "majority"


def values(sets: Sets, outcomes: Sequence[Outcome], summaries: Sequence[Summary], majority: Mapping[str, float]) -> Any:
    """The same and every trial, as JSON values."""
    names = (*sets.measures, "score")
    arms = {
        own.arm: {
            "rate": own.rate,
            "mean": {name: json_value(own.mean(name)) for name in names},
            "deviation": {name: json_value(own.deviation(name)) for name in names},
            "seeds": {str(each.trial.seed): measured(each) for each in own.outcomes},
        }
        for own in summaries
    }
    trials = [
        {**dataclasses.asdict(each.trial), "step": each.step, "diverged": each.diverged, **measured(each)}
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


def measured(outcome: Outcome) -> dict[str, Any]:
    """What a trial measured, as JSON values."""
    return {name: json_value(value) for name, value in outcome.values.items()}
