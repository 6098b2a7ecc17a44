"""What arms have in common by construction, and the proof: the tokens they read, the values they start from."""

import dataclasses
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx, traverse_util

from ablation.results import Pairing
from ablation.trials import Trial
from batch import InputError
from models.parameters import initialize
from training.build import Run
from training.keys import named_key
from training.metrics import read_records

Fingerprint = tuple[tuple[int, ...], str]
"""Shape and initializer of a parameter."""


def pairing(runs: Mapping[str, Run], trials: Sequence[Trial]) -> Pairing:
    """Which arms read the same tokens, by what their runs recorded, and which initial values they share.

    Raises InputError where arms whose data is configured alike have read something else, and AssertionError where
    parameters that are declared alike begin unlike.
    """
    streams, steps = _streams(runs, trials)
    values = {arm: _initial(run) for arm, run in runs.items()}
    common = {
        (one, other): [path for path in values[one] if values[other].get(path) == values[one][path]]
        for one, other in itertools.combinations(runs, 2)
    }
    everywhere = set.intersection(*({(path, own) for path, own in each.items()} for each in values.values()))
    return Pairing(
        streams=streams,
        stream_steps=steps,
        parameters=tuple(
            (
                one,
                other,
                _size(paths, values[one]),
                _size(values[one], values[one]),
                _size(values[other], values[other]),
            )
            for (one, other), paths in common.items()
        ),
        own={
            arm: tuple(path for path, own in each.items() if (path, own) not in everywhere)
            for arm, each in values.items()
        },
    )


@dataclasses.dataclass(frozen=True)
class _Initial:
    """A parameter as it begins."""

    shape: tuple[int, ...]
    digest: str

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))


def _initial(run: Run) -> dict[str, _Initial]:
    key = named_key(run.experiment.seed, "initialization")
    values: dict[str, Any] = traverse_util.flatten_dict(jax.jit(lambda: initialize(run.model, key))(), sep="/")
    digest = lambda value: hashlib.sha256(np.asarray(value).tobytes()).hexdigest()  # noqa: E731
    return {path: _Initial(value.shape, digest(value)) for path, value in values.items()}


def check_initial(runs: Mapping[str, Run]) -> None:
    """Raises AssertionError where parameters of the same path, shape and initializer do not begin bit for bit alike."""
    seen: dict[tuple[str, Any], tuple[str, _Initial]] = {}
    for arm, run in runs.items():
        values = _initial(run)
        for path, variable in nnx.to_flat_state(nnx.state(run.model, nnx.Param)):
            name = "/".join(map(str, path))
            declared = (name, (values[name].shape, repr(variable.get_metadata()["initializer"])))
            other, value = seen.setdefault(declared, (arm, values[name]))
            assert value == values[name], f"{name} begins otherwise in {arm} than in {other}"


def _size(paths: Any, values: Mapping[str, _Initial]) -> int:
    return sum(values[path].size for path in paths)


def _streams(runs: Mapping[str, Run], trials: Sequence[Trial]) -> tuple[tuple[tuple[str, ...], ...], int]:
    """Groups of arms with the same digest at the last step that all of the first seed's trials recorded."""
    first = min(trial.seed for trial in trials)
    recorded = {
        trial.arm: {each["step"]: each["stream"] for each in read_records(trial.folder) if each.get("stream")}
        for trial in trials
        if trial.seed == first
    }
    common = set.intersection(*(set(own) for own in recorded.values())) if recorded else set()
    if not common:
        return tuple((arm,) for arm in runs), 0
    step = max(common)
    groups: dict[str, list[str]] = {}
    for arm, digests in recorded.items():
        groups.setdefault(digests[step], []).append(arm)
    group = {arm: number for number, members in enumerate(groups.values()) for arm in members}
    for one, other in itertools.combinations(recorded, 2):
        if _reads(runs[one]) == _reads(runs[other]) and group[one] != group[other]:
            raise InputError(
                f"arms {one} and {other}: their data is configured alike, and until step {step} they read other "
                "tokens: the corpus has changed between them; begin in a new workdir."
            )
    return tuple(map(tuple, groups.values())), step


def _reads(run: Run) -> Any:
    """What decides which tokens a run reads at a step."""
    return run.experiment.data, run.experiment.objective.reuse, run.experiment.seed
