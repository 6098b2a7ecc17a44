"""The parameters that a run was left with, for whatever goes on from them or asks about them."""

from pathlib import Path
from typing import Any

from models import build_model
from models.parameters import abstract_params
from training.checkpoint import Checkpoints
from training.workdir import stored_experiment, stored_tokenizer


def stored_params(workdir: Path, step: int) -> dict[str, Any]:
    """The parameters of a checkpoint, nested as `initialize` nests them.

    Raises InputError where there is no run, its files are damaged, or they are not of the run's experiment.
    """
    experiment, tokenizer = stored_experiment(workdir), stored_tokenizer(workdir)
    assert tokenizer is not None, "there is an experiment"
    model = build_model(experiment.model, tokenizer.vocab.size)
    return Checkpoints(workdir).restore_params(step, abstract_params(model))
