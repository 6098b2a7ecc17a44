"""From the name of a task and a folder to its sets: a task of GLUE, or the shape of one's own."""

import functools
from collections.abc import Callable
from pathlib import Path

from batch import InputError
from finetuning.files import IN_CHINESE, IN_ENGLISH, Layout, choice_sets, labeled_sets, question_sets, tagged_sets
from finetuning.formats import glue
from finetuning.formats.choices import CODAH, SWAG
from finetuning.formats.labels import Range
from finetuning.task import Sets, Submit, Task

Report = Callable[[str], None]


def read_sets(task: glue.Task, folder: Path, report: Report) -> Sets:
    """The sets of a task of GLUE; `folder` is its own, or that of all tasks. Of several dev sets the first judges."""
    folder = folder / task.name if (folder / task.name).is_dir() else folder
    labels = () if isinstance(task.labels, Range) else task.labels
    judge = next(split.name for split in task.splits if split.name.startswith("dev"))
    there = [split.name for split in task.splits if split.name in ("train", judge) or _is_there(folder, split.name)]
    sets = {name: glue.read_glue(folder, task, name, report) for name in there}
    own = Task(task.name, "classification" if labels else "regression", task.metrics)
    submitted = {split.name: submit(task, split.name) for split in task.splits if split.prediction}
    return Sets(own, labels, sets.pop("train"), sets.pop(judge), sets, submitted)


def submit(task: glue.Task, split: str) -> Submit:
    """What writes the file of a test set that GLUE's leaderboard takes."""
    return lambda folder, names, predictions: glue.write_glue(folder, task, split, names, predictions)


def _is_there(folder: Path, split: str) -> bool:
    return any((folder / f"{split}{end}").exists() for end in (".tsv", ".tsv.gz"))


def read_published(task: glue.Task, folder: Path, layout: Layout, report: Report) -> Sets:
    """The same, where nothing was told of its files. Raises InputError where something was: they are known."""
    if layout != Layout():
        raise InputError(
            f"--task={task.name.lower()}: its files are known; leave out --text, --label, --train and --dev."
        )
    return read_sets(task, folder, report)


SOURCES: dict[str, Callable[[Path, Layout, Report], Sets]] = {
    "classification": functools.partial(labeled_sets, "classification"),
    "regression": functools.partial(labeled_sets, "regression"),
    "tagging": tagged_sets,
    **{task.name.lower(): functools.partial(read_published, task) for task in glue.TASKS},
    "choice": functools.partial(choice_sets, None),
    "swag": functools.partial(choice_sets, SWAG, dev="val"),
    "codah": functools.partial(choice_sets, CODAH),
    "extraction": functools.partial(question_sets, None),
    "squad": functools.partial(question_sets, IN_ENGLISH),
    "cmrc2018": functools.partial(question_sets, IN_CHINESE),
}
"""What reads the folder of a task, by its name."""


def open_sets(name: str, folder: Path, layout: Layout, report: Report) -> Sets:
    """The sets of a task; upper and lower case, and SST-2 and sst2, are alike.

    Raises InputError for a name that no source has, and for what a source refuses.
    """
    found = {plain(each): read for each, read in SOURCES.items()}.get(plain(name))
    if found is None:
        raise InputError(f"--task={name}: unknown; there are {', '.join(SOURCES)}.")
    return found(folder, layout, report)


def plain(name: str) -> str:
    """A name as it is looked up."""
    return name.lower().replace("-", "")
