"""The nine tasks of GLUE (Wang et al. 2019), as its files have them.

The tables are of the published archives: tab-separated, a quotation mark is text, some begin with a byte order mark,
and CoLA's training and dev files have no header. Test sets have no labels, and an id for the leaderboard.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from batch import InputError
from finetuning.examples import Labeled
from finetuning.formats.labeled import Columns, read_labeled
from finetuning.formats.labels import Known, Range, checked, number
from finetuning.formats.predictions import write_predictions


@dataclasses.dataclass(frozen=True)
class Split:
    """A file of a task."""

    name: str  # the file is this and .tsv
    columns: Columns
    prediction: str | None = None  # the leaderboard's name for a file of predictions, of test sets


@dataclasses.dataclass(frozen=True)
class Task:
    """A task of GLUE."""

    name: str  # its folder
    metrics: tuple[str, ...]  # what the leaderboard shows; a score is their mean
    labels: tuple[str, ...] | Range  # as the files write them
    splits: tuple[Split, ...]

    def split(self, name: str) -> Split:
        """Raises InputError for a name that the task does not have."""
        for split in self.splits:
            if split.name == name:
                return split
        raise InputError(f"split={name}: {self.name} has {', '.join(split.name for split in self.splits)}.")


def _task(
    name: str, metrics: tuple[str, ...], labels: tuple[str, ...] | Range, labeled: Columns, test: Columns
) -> Task:
    splits = (Split("train", labeled), Split("dev", labeled), Split("test", test, f"{name}.tsv"))
    return Task(name, metrics, labels, splits)


def _pair(
    label: str, first: str = "sentence1", second: str = "sentence2", name: str = "index"
) -> tuple[Columns, Columns]:
    """The columns of a pair of texts, with the label and in the test set."""
    return Columns((first, second), label), Columns((first, second), name=name)


_ENTAILED = ("entailment", "not_entailment")
_SENTENCE = Columns(("sentence",), name="index")
_MNLI, _MNLI_TEST = _pair("gold_label")

TASKS = (
    _task("CoLA", ("matthews",), ("0", "1"), Columns((3,), 1), _SENTENCE),  # source, label, the author's mark, sentence
    _task("SST-2", ("accuracy",), ("0", "1"), Columns(("sentence",), "label"), _SENTENCE),
    _task("MRPC", ("f1", "accuracy"), ("0", "1"), *_pair("Quality", "#1 String", "#2 String")),
    _task("QQP", ("f1", "accuracy"), ("0", "1"), *_pair("is_duplicate", "question1", "question2", "id")),
    _task("STS-B", ("pearson", "spearman"), Range(0, 5), *_pair("score")),
    Task(
        "MNLI",
        ("accuracy",),
        ("entailment", "neutral", "contradiction"),
        (
            Split("train", _MNLI),
            Split("dev_matched", _MNLI),
            Split("dev_mismatched", _MNLI),
            Split("test_matched", _MNLI_TEST, "MNLI-m.tsv"),
            Split("test_mismatched", _MNLI_TEST, "MNLI-mm.tsv"),
        ),
    ),
    _task("QNLI", ("accuracy",), _ENTAILED, *_pair("label", "question", "sentence")),
    _task("RTE", ("accuracy",), _ENTAILED, *_pair("label")),
    _task("WNLI", ("accuracy",), ("0", "1"), *_pair("label")),
)


def task_named(name: str) -> Task:
    """The task, upper and lower case alike. Raises InputError for one that GLUE does not have."""
    for task in TASKS:
        if task.name.lower() == name.lower():
            return task
    raise InputError(f"task={name}: GLUE has {', '.join(task.name for task in TASKS)}.")


def read_glue(folder: Path, task: Task, split: str, report: Callable[[str], None]) -> list[Labeled]:
    """The examples of a split, from `folder`/`split`.tsv (or .tsv.gz).

    QQP's training set has a few rows that are cut short; such rows are told to `report` and left out, but not of a
    test set, which the leaderboard wants whole. Raises InputError as `read_labeled` does.
    """
    chosen = task.split(split)
    path = folder / f"{split}.tsv"
    if not path.exists() and (packed := folder / f"{split}.tsv.gz").exists():
        path = packed
    known: Known = None if chosen.columns.label is None else task.labels
    return read_labeled(path, chosen.columns, known, None if chosen.prediction else report)


def write_glue(folder: Path, task: Task, split: str, names: Sequence[str], predictions: Sequence[str]) -> Path:
    """Writes the predictions for a test set, labels as the files write them, and returns the path of the file.

    Numbers are put into the range of the task, and have three decimals. Raises InputError for a split that is no test
    set, and for a label that the task does not have.
    """
    chosen = task.split(split)
    if chosen.prediction is None:
        raise InputError(f"split={split}: the leaderboard takes predictions for the test sets of {task.name} alone.")
    places = [f"predictions for {task.name}: {name!r}" for name in names]
    cells = [_prediction(label, task.labels, place) for label, place in zip(predictions, places, strict=True)]
    write_predictions(folder / chosen.prediction, names, cells)
    return folder / chosen.prediction


def _prediction(label: str, labels: tuple[str, ...] | Range, where: str) -> str:
    if isinstance(labels, Range):
        return f"{min(max(number(label, Range(), where), labels.least), labels.most):.3f}"
    return checked(label, labels, where)
