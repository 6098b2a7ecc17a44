"""What a reader of a report must know before believing a number."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from ablation.bootstrap import ratios
from ablation.collect import Condition, Found
from ablation.yardsticks import Yardstick
from evaluation.task import Entry


def too_few_seeds(seeds: int, claims: int, needed: int) -> list[str]:
    """A sentence where nothing can be decided."""
    if seeds >= needed:
        return []
    what = f"{claims} claims need" if claims > 1 else "A verdict needs"
    have = "is one seed" if seeds == 1 else f"are {seeds} seeds"
    return [f"{what} {needed} seeds, and there {have}: differences are shown, and nothing is decided."]


def diverged(conditions: Sequence[Condition]) -> list[str]:
    """Names the trials without a number."""
    lost = {
        condition.name: [trial.name for own in condition.trials.values() for trial in own if trial.diverged is not None]
        for condition in conditions
    }
    return [f"Diverged, and without a number ({name}): {'; '.join(own)}." for name, own in lost.items() if own]


def unasked(found: Found, yardsticks: Sequence[Yardstick]) -> list[str]:
    """Names the metrics that the text has no items for."""
    asked = [metric.name for yardstick in yardsticks if yardstick.steps is None for metric in yardstick.metrics]
    means = {metric: [_mean(found, metric, arm) for arm in found.arms(metric)] for metric in asked}
    return [
        f"{metric}: the held-out text has nothing to ask, being too short or of too few words."
        for metric, own in means.items()
        if np.isnan(own).all()
    ]


def lost(found: Sequence[Found], yardsticks: Sequence[Yardstick]) -> list[str]:
    """Names the trials whose fine-tuning, or that of their model from random weights, diverged at its best rate."""
    metrics = [metric.name for yardstick in yardsticks if yardstick.steps for metric in yardstick.metrics[:2]]
    names = [
        f"{trial.name} on {metric} ({each.condition.name})"
        for each, metric in itertools.product(found, metrics)
        for arm, trials in each.condition.trials.items()
        for trial, value in zip(trials, ratios(*each.values(metric, arm)), strict=True)
        if trial.diverged is None and np.isnan(value)
    ]
    return [f"Diverged in fine-tuning, and without a number: {'; '.join(names)}."] if names else []


def beside_blind(found: Found, yardsticks: Sequence[Yardstick]) -> list[str]:
    """Says who learned no more of a task than what answers without looking at the text."""
    notes = []
    for yardstick in yardsticks:
        if yardstick.blind is None:
            continue
        metric, (name, least) = yardstick.metrics[0], yardstick.blind
        means = {arm: _mean(found, metric.name, arm) for arm in found.arms(metric.name)}
        worse = [arm for arm, mean in means.items() if mean <= least]
        better = [arm for arm, mean in means.items() if mean > least]
        than = [f"{sign} than {', '.join(arms)}" for sign, arms in (("no less", worse), ("less", better)) if arms]
        told = f"The {name} of the training set has {least:.3f} {metric.unit} on {metric.name}"
        notes.append(f"{', '.join([told, *than])}.")
    return notes


def beside_counts(found: Found, yardsticks: Sequence[Yardstick], entries: Mapping[str, Entry]) -> list[str]:
    """Says who knows less of the text than counts of five tokens in a row do: the order of such models says little."""
    entry = next(iter(entries.values()), None)
    notes = []
    for yardstick in yardsticks:
        if entry is None or yardstick.counted is None or not entry.ngrams:
            continue
        metric, least = yardstick.metrics[0], yardstick.counted(entry)
        worse = [arm for arm in found.arms(metric.name) if _mean(found, metric.name, arm) > least]
        told = f"A 5-gram of the training text has {least:.3f} {metric.unit}, {metric.name}"
        if worse:
            notes.append(
                f"{told}, less than {', '.join(worse)}: models as small or as briefly trained as these say little of "
                "larger ones."
            )
        else:
            notes.append(f"{told}: every arm is better.")
    return notes


def _mean(found: Found, metric: str, arm: str) -> float:
    return float(ratios(*found.values(metric, arm)).mean())
