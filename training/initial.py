"""Continued pretraining: a run that starts from another run's parameters."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from batch import InputError
from data.tokenizer import AnyTokenizer
from models.parameters import abstract_params
from training.build import Run
from training.checkpoint import Checkpoints
from training.config import Experiment
from training.restored import stored_params
from training.workdir import stored_tokenizer

POSITIONS = "positions/table"
"""The parameter that may be shorter in the source: it is extended."""


def initial_tokenizer(experiment: Experiment) -> AnyTokenizer | None:
    """The tokenizer of the run that `init_from` names, whose parameters mean nothing to another one."""
    if experiment.init_from is None:
        return None
    tokenizer = stored_tokenizer(Path(experiment.init_from))
    if tokenizer is None:
        raise InputError(f"init_from={experiment.init_from}: holds no run; name the workdir of one.")
    return tokenizer


def initial_params(run: Run, report: Callable[[str], None]) -> Any:
    """The newest parameters of the run that `init_from` names, fitted to this model; None without `init_from`.

    Rows that a position table lacks repeat the ones it has from the start, so that every stretch of text keeps the
    distances it was trained on; rows too many are cut. Raises InputError where a parameter is missing, left over or of
    another shape.
    """
    source = run.experiment.init_from
    if source is None:
        return None
    step = Checkpoints(source).resolve("latest")
    stored: dict[str, Any] = traverse_util.flatten_dict(stored_params(Path(source), step), sep="/")
    leaves: dict[str, Any] = traverse_util.flatten_dict(abstract_params(run.model), sep="/")
    wanted = {name: leaf.shape for name, leaf in leaves.items()}
    report(f"parameters from {source}, step {step}")
    if POSITIONS in wanted and POSITIONS in stored and wanted[POSITIONS][1:] == stored[POSITIONS].shape[1:]:
        old, new = len(stored[POSITIONS]), wanted[POSITIONS][0]
        if old < new:
            report(f"the position table is extended from {old} to {new} rows, which repeat the first {old}")
        if old > new:
            report(f"the position table is cut from {old} to {new} rows")
        stored[POSITIONS] = stored[POSITIONS][np.arange(new) % old]
    _check(source, {name: leaf.shape for name, leaf in stored.items()}, wanted)
    return traverse_util.unflatten_dict(stored, sep="/")


def _check(source: str, stored: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]]) -> None:
    found = [f"{name} is missing" for name in wanted if name not in stored]
    found += [f"{name} is not of this model" for name in stored if name not in wanted]
    for name in sorted(wanted.keys() & stored.keys()):
        if stored[name] != wanted[name]:
            found.append(f"{name} is {list(stored[name])}, expected {list(wanted[name])}")
    if found:
        raise InputError(f"init_from={source}: is of another model: {'; '.join(found)}; use the same model fields.")
