"""What pretraining was worth, as numbers: differences paired by seed, their exact test, and a verdict on each."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ablation.results import Effect, Interval, Metric
from ablation.significance import holm, not_rejected, seeds_needed, sign_flip
from evaluation.tables import markdown
from finetuning.build import Arm
from report.amounts import probability
from report.effects import panels
from training.metrics import json_value

ALPHA = 0.05

METRICS = {"tag_accuracy": "accuracy of tags", "entity_f1": "F1 of entities", "pearson": "Pearson's r"}
"""What tables call them, where that is not the name."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One family of models on one task: the score of each seed on the dev set, and at which learning rate."""

    task: str
    family: str
    metric: str  # of several, their mean
    learned: int  # examples
    judged: int
    rates: Mapping[Arm, float]
    scores: Mapping[Arm, tuple[float, ...]]  # of the same seeds
    majority: float  # what the most frequent class or tag, or the mean number, gets

    def mean(self, arm: Arm) -> float:
        return statistics.fmean(self.scores[arm])

    def deviation(self, arm: Arm) -> float:
        """Over seeds; NaN of one."""
        return float(np.std(self.scores[arm], ddof=1)) if len(self.scores[arm]) > 1 else math.nan


@dataclasses.dataclass(frozen=True)
class Row:
    """A comparison and what is to be said of it."""

    of: Comparison
    by_seed: tuple[float, ...]  # what the pretrained model has more
    mean: Interval  # exact, by the same test as p; NaN with fewer than six seeds
    p: float  # two-sided exact sign-flip test over seeds
    adjusted: float  # by Holm's method over all rows
    verdict: str


def judged(comparisons: Sequence[Comparison]) -> list[Row]:
    """A row for each comparison; all of them are one family, in which any false verdict is as rare as ALPHA."""
    differences = [np.subtract(each.scores["pretrained"], each.scores["scratch"]) for each in comparisons]
    p = np.array([sign_flip(own) for own in differences], np.float64)
    adjusted = np.where(np.isnan(p), math.nan, holm(np.where(np.isnan(p), 1.0, p)))
    return [
        Row(
            each,
            tuple(own.tolist()),
            Interval(float(own.mean()), *not_rejected(own, ALPHA)),
            float(level),
            float(corrected),
            verdict(each, float(own.mean()), float(corrected), len(comparisons)),
        )
        for each, own, level, corrected in zip(comparisons, differences, p, adjusted, strict=True)
    ]


def verdict(comparison: Comparison, difference: float, adjusted: float, rows: int) -> str:
    """Whether pretraining helps, of a table of so many rows; and whether either model learned anything, by its mean."""
    needed = seeds_needed(rows, ALPHA)
    if math.isnan(adjusted):
        return "no verdict: a score is no number"
    if len(comparison.scores["scratch"]) < needed:
        said = f"no verdict: {needed} seeds are needed"
    elif adjusted > ALPHA:
        said = "no difference shown"
    else:
        said = "helps" if difference > 0 else "hurts"
    best = max(comparison.mean("scratch"), comparison.mean("pretrained"))
    return said if best > comparison.majority else f"{said}; neither beats the majority"


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown, scores in percent; the metric is that of the task's leaderboard."""
    head = ["task", "metric", "model", "from scratch", "pretrained", "majority", "difference (95 %)", "p", "p, Holm"]
    cells = [
        [
            row.of.task,
            METRICS.get(row.of.metric, row.of.metric),
            row.of.family,
            *(f"{100 * row.of.mean(arm):.1f} ± {_spread(row.of.deviation(arm))}" for arm in ("scratch", "pretrained")),
            f"{100 * row.of.majority:.1f}",
            _interval(row.mean),
            probability(row.p),
            probability(row.adjusted),
            row.verdict,
        ]
        for row in rows
    ]
    return markdown([*head, "pretraining"], cells, left=("task", "metric", "model", "pretraining"))


def counted(rows: Sequence[Row]) -> str:
    """How often it helps, and how often it does not."""
    kinds = ("helps", "hurts", "no difference shown", "no verdict")
    counts = {kind: sum(row.verdict.startswith(kind) for row in rows) for kind in kinds}
    said = ", ".join(f"{kind}: {count}" for kind, count in counts.items() if count)
    return f"Of {len(rows)} comparison{'s' * (len(rows) != 1)}, {said}."


def figure(rows: Sequence[Row]) -> Figure:
    """A panel for each task, a line for each family: what the pretrained model has more, in points."""
    metrics = {row.of.task: METRICS.get(row.of.metric, row.of.metric) for row in rows}
    shown = [Metric(task, f"{metric}, points", "more", "") for task, metric in metrics.items()]
    points = lambda *values: tuple(100 * value for value in values)  # noqa: E731
    effects = [
        Effect(
            row.of.family,
            row.of.task,
            "pretrained",
            "from scratch",
            points(*row.by_seed),
            Interval(*points(row.mean.value, row.mean.low, row.mean.high)),
            row.p,
        )
        for row in rows
    ]
    return panels(shown, effects, {row.of.family: row.of.family for row in rows})


def values(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as JSON values; scores are fractions."""
    return [_plain(dataclasses.asdict(row)) for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(own) for name, own in value.items()}
    return [_plain(own) for own in value] if isinstance(value, list | tuple) else json_value(value)


def _spread(deviation: float) -> str:
    return "?" if math.isnan(deviation) else f"{100 * deviation:.1f}"


def _interval(found: Interval) -> str:
    value = f"{100 * found.value:+.1f}"
    return value if math.isnan(found.low) else f"{value} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
