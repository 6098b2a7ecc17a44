"""What a task is: the shape of its answers, its metrics, and its sets of examples."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from batch import InputError
from finetuning.examples import Choice, Labeled, Question, Tagged

Kind = Literal["classification", "regression", "tagging", "choice", "extraction"]
Example = Labeled | Tagged | Choice | Question
Submit = Callable[[Path, Sequence[str], Sequence[str]], Any]
"""Writes into a folder what a leaderboard takes: predictions for examples of these names."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A task, as its leaderboard judges it."""

    name: str
    kind: Kind
    metrics: tuple[str, ...]  # their mean is the score


@dataclasses.dataclass(frozen=True, eq=False)
class Sets:
    """The examples of a task.

    `labels` are its classes, in the order of their numbers: of a choice, the indices of what can be chosen. A
    regression and the extraction of answers have none.
    """

    task: Task
    labels: tuple[str, ...]
    train: Sequence[Example]
    dev: Sequence[Example]
    others: Mapping[str, Sequence[Example]] = dataclasses.field(default_factory=dict)  # predicted at the end; by name
    submitted: Mapping[str, Submit] = dataclasses.field(default_factory=dict)  # those of them that a leaderboard judges

    def __post_init__(self):
        for name, examples in (("training", self.train), ("dev", self.dev)):
            if not examples:
                raise InputError(f"task {self.task.name}: its {name} set is empty; give a file with examples.")
            if any(unlabeled(example) for example in examples):
                raise InputError(f"task {self.task.name}: its {name} set has no labels; give one that has.")
        if self.task.kind == "classification" and len({answer(example) for example in self.dev}) < 2:
            raise InputError(
                f"task {self.task.name}: its dev set has one class, {answer(self.dev[0])!r}, so that nothing can be "
                "measured; give a set with at least two."
            )

    @functools.cached_property
    def named(self) -> Mapping[str, Sequence[Example]]:
        """Every set by its name."""
        return {"train": self.train, "dev": self.dev, **self.others}

    @functools.cached_property
    def further(self) -> tuple[str, ...]:
        """The other sets that have labels: they are measured at the end, and nothing is chosen by them."""
        labeled = {name: bool(examples) and not any(map(unlabeled, examples)) for name, examples in self.others.items()}
        return tuple(name for name, known in labeled.items() if known)

    @functools.cached_property
    def measures(self) -> tuple[str, ...]:
        """What is told of a model: the metrics on the dev set, then those on each further set, as SET/METRIC."""
        return (*self.task.metrics, *(f"{name}/{metric}" for name in self.further for metric in self.task.metrics))

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of what is learned from and judged by: names, texts and labels, in their order."""
        hashed = hashlib.sha256(repr((self.task, self.labels)).encode())
        for example in (*self.train, *self.dev):
            hashed.update(repr(example).encode())
        return hashed.hexdigest()

    @functools.cached_property
    def texts(self) -> int:
        """The most texts that an example has."""
        return max(texts_of(example) for example in (*self.train, *self.dev))


def texts_of(example: Example) -> int:
    """How many texts a row of the example has."""
    if isinstance(example, Labeled):
        return len(example.texts)
    return 1 if isinstance(example, Tagged) else 2


def answer(example: Example) -> str | int | tuple[str, ...] | None:
    """The label, the tags or the answers, as they are written; None where the set was published without."""
    if isinstance(example, Question):
        return tuple(each.text for each in example.answers) if example.answers or example.impossible else None
    return example.tags if isinstance(example, Tagged) else example.label


def unlabeled(example: Example) -> bool:
    """Whether the set was published without the answer."""
    return answer(example) is None
