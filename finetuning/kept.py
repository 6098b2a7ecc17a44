"""What is kept of a run that is finished: the parameters of its best checkpoint. They predict; no step follows them."""

import shutil
from pathlib import Path
from typing import Any

from training.checkpoint import Checkpoints

LEAN = "lean"
"""In the folder of a run: the checkpoint that is kept, until it is in the place of the others."""


def write_lean(folder: Path, step: int, params: Any) -> None:
    """Writes the parameters of a step beside the checkpoints of a run, with what was measured of them."""
    shutil.rmtree(folder / LEAN, ignore_errors=True)  # of an execution that was killed
    measured = Checkpoints(folder).metrics(step)
    with Checkpoints(folder / LEAN) as lean:
        lean.save(step, {"params": params}, measured)


def settle(folder: Path) -> None:
    """Puts what `write_lean` wrote in the place of all checkpoints, if it is not there yet.

    Killed anywhere and called again, it ends the same: until the old ones are gone, the new one lies beside them.
    """
    lean, place = folder / LEAN, folder / "checkpoints"
    if (lean / place.name).exists():
        shutil.rmtree(place, ignore_errors=True)
        (lean / place.name).rename(place)
    shutil.rmtree(lean, ignore_errors=True)
