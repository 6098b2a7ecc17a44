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

MOST = 5
"""Arms of which each is compared with each; of more, each with the first."""


@dataclasses.dataclass(frozen=True)
class Initial:
    """A parameter as it begins."""

    shape: tuple[int, ...]
    initializer: str
    digest: str  # of its values

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))


Initials = Mapping[str, Initial]
"""By path."""


def pairing(runs: Mapping[str, Run], trials: Sequence[Trial]) -> Pairing:
    """Which arms read the same tokens, by what their runs recorded, and which initial values they share.

    Raises InputError where arms whose data is configured alike have read something else.
    """
    streams, steps = _streams(runs, trials)
    values = {arm: initial(run) for arm, run in runs.items()}
    check_initial(values)
    everywhere = set.intersection(*(set(each.items()) for each in values.values()))
    pairs = [pair for pair in itertools.combinations(runs, 2) if len(runs) <= MOST or pair[0] == next(iter(runs))]
    return Pairing(
        streams=streams,
        stream_steps=steps,
        parameters=tuple((one, other, *_sizes(values[one], values[other])) for one, other in pairs),
        own={
            arm: tuple(path for path, own in each.items() if (path, own) not in everywhere)
            for arm, each in values.items()
        },
    )


def initial(run: Run) -> Initials:
    """The parameters of a run before its first step."""
    key = named_key(run.experiment.seed, "initialization")
    values: dict[str, Any] = traverse_util.flatten_dict(jax.jit(lambda: initialize(run.model, key))(), sep="/")
    found = {}
    for path, variable in nnx.to_flat_state(nnx.state(run.model, nnx.Param)):
        value = np.asarray(values["/".join(map(str, path))])
        drawn = repr(variable.get_metadata()["initializer"])
        found["/".join(map(str, path))] = Initial(value.shape, drawn, hashlib.sha256(value.tobytes()).hexdigest())
    return found


def check_initial(values: Mapping[str, Initials]) -> None:
    """Raises AssertionError where parameters of the same path, shape and initializer do not begin bit for bit alike."""
    seen: dict[tuple[str, tuple[int, ...], str], tuple[str, str]] = {}
    for arm, own in values.items():
        for path, each in own.items():
            other, digest = seen.setdefault((path, each.shape, each.initializer), (arm, each.digest))
            assert digest == each.digest, f"{path} begins otherwise in {arm} than in {other}"


def _sizes(one: Initials, other: Initials) -> tuple[int, int, int]:
    """Numbers that two arms begin with alike, that the first has, and that the second has."""
    shared = [each.size for path, each in one.items() if other.get(path) == each]
    return sum(shared), sum(each.size for each in one.values()), sum(each.size for each in other.values())


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
