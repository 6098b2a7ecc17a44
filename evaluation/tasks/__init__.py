"""The tasks of evaluate.py by name."""

from collections.abc import Sequence

from batch import InputError
from evaluation.task import Task
from evaluation.tasks.likelihood import likelihood
from evaluation.tasks.pseudo import pseudo

TASKS = {
    "likelihood": Task(likelihood),
    "pseudo": Task(pseudo),
}


def check_tasks(names: Sequence[str]) -> None:
    """Raises InputError on a task that does not exist."""
    for name in names:
        if name not in TASKS:
            raise InputError(f"--tasks={name}: no such task; there are {', '.join(TASKS)}.")
