"""From the name of a task and a folder to its sets."""

from collections.abc import Callable
from pathlib import Path

from batch import InputError
from finetuning.task import Sets

Report = Callable[[str], None]

SOURCES: dict[str, Callable[[Path, Report], Sets]] = {}
"""What reads the folder of a task, by its name in lower case."""


def open_sets(name: str, folder: Path, report: Report) -> Sets:
    """The sets of a task. Raises InputError for a name that no source has, and for what a source refuses."""
    if name.lower() not in SOURCES:
        known = ", ".join(sorted(SOURCES)) or "none yet"
        raise InputError(f"--task={name}: unknown; there are {known}.")
    return SOURCES[name.lower()](folder, report)
