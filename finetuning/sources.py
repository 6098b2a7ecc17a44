"""From the name of a task and a folder to its sets."""

import functools
from collections.abc import Callable
from pathlib import Path

from batch import InputError
from finetuning.formats import glue
from finetuning.formats.labels import Range
from finetuning.task import Sets, Task

Report = Callable[[str], None]


def read_sets(task: glue.Task, folder: Path, report: Report) -> Sets:
    """The sets of a task of GLUE; `folder` is its own, or that of all tasks. Of several dev sets the first judges."""
    folder = folder / task.name if (folder / task.name).is_dir() else folder
    labels = () if isinstance(task.labels, Range) else task.labels
    judge = next(split.name for split in task.splits if split.name.startswith("dev"))
    there = [split.name for split in task.splits if split.name in ("train", judge) or _is_there(folder, split.name)]
    sets = {name: glue.read_glue(folder, task, name, report) for name in there}
    own = Task(task.name, "classification" if labels else "regression", task.metrics)
    return Sets(own, labels, sets.pop("train"), sets.pop(judge), sets)


def _is_there(folder: Path, split: str) -> bool:
    return any((folder / f"{split}{end}").exists() for end in (".tsv", ".tsv.gz"))


SOURCES: dict[str, Callable[[Path, Report], Sets]] = {
    task.name.lower(): functools.partial(read_sets, task) for task in glue.TASKS
}
"""What reads the folder of a task, by its name in lower case."""


def open_sets(name: str, folder: Path, report: Report) -> Sets:
    """The sets of a task. Raises InputError for a name that no source has, and for what a source refuses."""
    if name.lower() not in SOURCES:
        raise InputError(f"--task={name}: unknown; there are {', '.join(sorted(SOURCES))}.")
    return SOURCES[name.lower()](folder, report)
