"""What a finished run got for each example of the dev set, where its score is a mean over examples."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from finetuning.formats.predictions import read_predictions, read_tags
from finetuning.metrics import METRICS
from finetuning.scoring import references_of, truth_of
from finetuning.task import Sets, Task

MEANS = ("accuracy", "tag_accuracy", "exact", "answer_f1", "exact_zh", "answer_f1_zh")
"""The metrics that are means over examples, or over the words of examples; correlations and F1 of classes are not."""


def of_items(task: Task) -> bool:
    """Whether the score of a task is a mean over examples."""
    return set(task.metrics) <= set(MEANS)


def item_scores(sets: Sets, folder: Path) -> tuple[Float64[np.ndarray, " Q"], Float64[np.ndarray, " Q"]]:
    """Totals and weights of the dev examples of such a task: the score is the sum of these over the sum of those.

    `folder` is that of a finished run, which holds its predictions. A metric of one example alone is what it adds to
    the mean; a sentence of tags weighs as much as it has words.
    """
    metrics = sets.task.metrics
    predicted, truth = predicted_of(sets, folder), answers_of(sets)
    weight = np.array([len(own) if sets.task.kind == "tagging" else 1 for own in truth], np.float64)
    each = [
        sum(METRICS[name](predicted[i : i + 1], truth[i : i + 1]) for name in metrics) / len(metrics)
        for i in range(len(truth))
    ]
    return np.array(each, np.float64) * weight, weight


def predicted_of(sets: Sets, folder: Path) -> Any:
    """What the best checkpoint of a finished run predicted for each dev example, as metrics take it."""
    if sets.task.kind == "extraction":
        answers = json.loads((folder / "predictions-dev.json").read_text())
        return [answers[each.name] for each in sets.dev]
    path = folder / "predictions-dev.tsv"
    if sets.task.kind == "tagging":
        return read_tags(path)
    return np.array([sets.labels.index(label) for label in read_predictions(path)], np.int64)


def answers_of(sets: Sets) -> Any:
    """The published answer of each dev example, as metrics take it."""
    return references_of(sets.dev) if sets.task.kind == "extraction" else truth_of(sets.dev, sets.labels)
