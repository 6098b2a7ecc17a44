"""Metrics as the leaderboards compute them, of predictions and truth; fractions, and correlations in [-1, 1].

A new one is one function and one line in METRICS. What is undefined is 0, never NaN.
"""

import functools
from collections.abc import Callable

from finetuning.metrics import answers, answers_zh
from finetuning.metrics.answers import squad2
from finetuning.metrics.classes import accuracy, f1, macro_f1
from finetuning.metrics.correlation import matthews, pearson, spearman, undefined
from finetuning.metrics.entities import entity_f1, entity_overlaps, tag_accuracy

METRICS: dict[str, Callable[..., float]] = {
    # of classes, an integer an example
    "accuracy": accuracy,
    "f1": f1,
    "macro_f1": macro_f1,
    "matthews": matthews,
    # of numbers
    "pearson": pearson,
    "spearman": spearman,
    # of sentences of tags
    "entity_f1": entity_f1,
    "tag_accuracy": tag_accuracy,
    # of answers, and the references of each
    "exact": functools.partial(answers.mean, answers.exact),
    "answer_f1": functools.partial(answers.mean, answers.word_f1),
    "exact_zh": functools.partial(answers.mean, answers_zh.exact_zh),
    "answer_f1_zh": functools.partial(answers.mean, answers_zh.run_f1),
}
"""Every metric as a function of predictions and truth, by the name that tasks give it."""

__all__ = [
    "METRICS",
    "accuracy",
    "entity_f1",
    "entity_overlaps",
    "f1",
    "macro_f1",
    "matthews",
    "pearson",
    "spearman",
    "squad2",
    "tag_accuracy",
    "undefined",
]
