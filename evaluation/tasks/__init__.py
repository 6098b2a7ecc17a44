"""The tasks of evaluate.py by name."""

from collections.abc import Sequence

from batch import InputError
from evaluation.task import Task
from evaluation.tasks.calibration import calibration
from evaluation.tasks.cloze import cloze
from evaluation.tasks.curve import curve
from evaluation.tasks.likelihood import likelihood
from evaluation.tasks.pairs import pairs
from evaluation.tasks.probe import probe
from evaluation.tasks.pseudo import pseudo
from evaluation.tasks.regret import regret

TASKS = {
    "likelihood": Task(likelihood),
    "pseudo": Task(pseudo),
    "cloze": Task(cloze),
    "pairs": Task(pairs, reads_text=False),
    "curve": Task(curve),
    "probe": Task(probe, reads_text=False),
    "calibration": Task(calibration),
    "regret": Task(regret),
}


def check_tasks(names: Sequence[str]) -> None:
    """Raises InputError on a task that does not exist."""
    for name in names:
        if name not in TASKS:
            raise InputError(f"--tasks={name}: no such task; there are {', '.join(TASKS)}.")
