"""What scores mean: predictions of a task and their files, its metrics, and what the majority class gets."""

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from finetuning.encoding import Encoded
from finetuning.examples import Choice, Labeled, Question, Tagged
from finetuning.formats.predictions import write_predictions, write_tags
from finetuning.metrics import METRICS
from finetuning.task import Example, Sets, Task

Predictions = np.ndarray | list[list[str]]
"""Classes by number [n], numbers [n], or the tags of each sentence; of questions the truth is several answers."""


def predictions_of(
    scores: Sequence[Float[np.ndarray, "_ _"]], encoded: Encoded, labels: tuple[str, ...]
) -> Predictions:
    """What the scores of each row say; a word that was cut off has the tag `O`, or else the first label."""
    if not labels:
        return np.array([own[0, 0] for own in scores], np.float64)
    if encoded.words is None:
        return np.array([own[0].argmax() for own in scores], np.int64)
    fallback = "O" if "O" in labels else labels[0]
    return [
        [labels[int(own[place].argmax())] if place >= 0 else fallback for place in places]
        for own, places in zip(scores, encoded.words, strict=True)
    ]


def truth_of(examples: Sequence[Example], labels: tuple[str, ...]) -> Predictions:
    """The published answers, as predictions are; of questions all that people gave."""
    several = [list(each.tags or ()) for each in examples if isinstance(each, Tagged)] or references_of(examples)
    if several:
        return several
    written = [str(each.label) for each in examples if isinstance(each, Labeled | Choice)]
    return np.array([labels.index(label) for label in written], np.int64) if labels else np.array(written, np.float64)


def references_of(examples: Sequence[Example]) -> list[list[str]]:
    """The published answers of each question; none where it has none."""
    return [[answer.text for answer in each.answers] for each in examples if isinstance(each, Question)]


def measured(task: Task, predicted: Predictions | list[str], truth: Predictions) -> dict[str, float]:
    """Each metric; `score`, their mean; and `error`, what the score lacks of 1, of which the best has the least."""
    values = {name: METRICS[name](predicted, truth) for name in task.metrics}
    score = sum(values.values()) / len(values)
    return {**values, "score": score, "error": 1.0 - score}


def measured_on(sets: Sets, name: str, predicted: Predictions | list[str]) -> dict[str, float]:
    """Each metric on a further set, under the names of both; nothing of a set that is none."""
    if name not in sets.further:
        return {}
    values = measured(sets.task, predicted, truth_of(sets.others[name], sets.labels))
    return {f"{name}/{metric}": values[metric] for metric in sets.task.metrics}


def majority(sets: Sets) -> dict[str, float]:
    """What the most frequent class, tag, answer or the mean number of the training set gets on all that is measured."""
    constant = usual(sets)
    values = measured(sets.task, constantly(sets, "dev", constant), truth_of(sets.dev, sets.labels))
    for name in sets.further:
        values |= measured_on(sets, name, constantly(sets, name, constant))
    return values


def usual(sets: Sets) -> Any:
    """The most frequent class, by its number, tag or answer of the training set; the mean of its numbers."""
    train = truth_of(sets.train, sets.labels)
    if sets.task.kind == "extraction":
        return most_frequent([own[0] if own else "" for own in train])
    if isinstance(train, list):
        return most_frequent([tag for tags in train for tag in tags])
    return most_frequent(train.tolist()) if sets.labels else float(train.mean())


def constantly(sets: Sets, name: str, constant: Any) -> Any:
    """Predictions for a set that are all the same."""
    examples = sets.named[name]
    if sets.task.kind == "extraction":
        return [constant] * len(examples)
    if sets.task.kind == "tagging":
        return [[constant] * len(each.tags or ()) for each in examples if isinstance(each, Tagged)]
    return np.full(len(examples), constant)


def most_frequent(values: Sequence[Any]) -> Any:
    """The value that occurs most often, the first of equals."""
    return collections.Counter(values).most_common(1)[0][0]


def write(folder: Path, sets: Sets, name: str, predicted: Predictions) -> None:
    """Writes the predictions for a set: conlleval's columns of tags, GLUE's of all else, and what is handed in."""
    path, examples = folder / f"predictions-{name}.tsv", sets.named[name]
    if isinstance(predicted, list):
        write_tags(path, [each for each in examples if isinstance(each, Tagged)], predicted)
        return
    names = [each.name for each in examples]
    cells = [sets.labels[int(each)] if sets.labels else f"{each:.3f}" for each in predicted]
    write_predictions(path, names, cells)
    if name in sets.submitted:
        sets.submitted[name](folder, names, cells)
