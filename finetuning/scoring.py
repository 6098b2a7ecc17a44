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
    """The published answers, as predictions are."""
    tags = [list(each.tags or ()) for each in examples if isinstance(each, Tagged)]
    if tags:
        return tags
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


def majority(sets: Sets) -> dict[str, float]:
    """What the most frequent class, tag, answer or the mean number of the training set gets on the dev set."""
    if sets.task.kind == "extraction":
        train, dev = references_of(sets.train), references_of(sets.dev)
        answer = most_frequent([own[0] if own else "" for own in train])
        return measured(sets.task, [answer] * len(dev), dev)
    train, truth = truth_of(sets.train, sets.labels), truth_of(sets.dev, sets.labels)
    if isinstance(train, list):
        tag = most_frequent([tag for tags in train for tag in tags])
        return measured(sets.task, [[tag] * len(tags) for tags in truth], truth)
    constant = most_frequent(train.tolist()) if sets.labels else float(train.mean())
    return measured(sets.task, np.full(len(truth), constant), truth)


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
