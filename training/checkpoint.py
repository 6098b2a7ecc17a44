"""Checkpoints of a run: written in the background, committed atomically, checked before they are used."""

import contextlib
import dataclasses
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from batch import InputError
from training.disk import writing
from training.manifest import METRICS, STATE, Damaged, damage, write_manifest
from training.metrics import json_value
from training.stored import Unreadable, read_state

_STEP = re.compile("0|[1-9][0-9]*")


class Checkpoints:
    """The checkpoints in `workdir`: the newest `keep`, and the one with the least held-out value of the name `least`.

    A step is a folder, `checkpoints/STEP`, that appears complete or not at all. Reading changes nothing, so a run may
    be read while it trains; the first save removes what a killed save left behind.
    """

    def __init__(self, workdir: str | os.PathLike[str], keep: int = 1, least: str = "loss"):
        self.folder = Path(workdir).absolute() / "checkpoints"
        self._keep, self._least = keep, least
        self._manager: ocp.CheckpointManager | None = None
        self._saving: tuple[int, dict[str, Any]] = (-1, {})

    @property
    def steps(self) -> list[int]:
        """The steps that can be restored, in order."""
        folders = self.folder.iterdir() if self.folder.is_dir() else []
        return sorted(int(folder.name) for folder in folders if _STEP.fullmatch(folder.name))

    @property
    def latest(self) -> int | None:
        """The newest step, None before the first save."""
        return max(self.steps, default=None)

    @property
    def best(self) -> int | None:
        """The step with the least `metrics[least]`, the earliest of equals; None where no step has a finite one."""
        return self._best(self.steps)

    def resolve(self, which: str) -> int:
        """The step that "latest", "best" or a number means. Raises InputError where there is no such step."""
        steps = self.steps
        if not steps:
            raise InputError(
                f"--step={which}: {self.folder} holds no checkpoint; train first, or name another workdir."
            )
        available = f"the steps are {', '.join(map(str, steps))}"
        named = {"latest": steps[-1], "best": self.best} | {str(step): step for step in steps}
        if which not in named:
            raise InputError(f"--step={which}: no such checkpoint in {self.folder}; {available}, or latest, or best.")
        step = named[which]
        if step is None:
            raise InputError(f"--step=best: no checkpoint in {self.folder} has a held-out {self._least}; {available}.")
        return step

    def save(self, step: int, state: Any, metrics: Mapping[str, Any] | None = None) -> None:
        """Begins to save `state`, which may be donated as soon as this returns.

        Waits for the save before it, whose errors are raised here. Only a finite `metrics[least]` can become best.
        Raises InputError where a step as late as this one is already there.
        """
        self.wait()
        self._saving = step, dict(metrics or {})
        with writing(self._unwritten):
            saved = self._open().save(step, args=ocp.args.Composite(**{STATE: ocp.args.PyTreeSave(state)}))
        if not saved:
            raise InputError(
                f"step {step}: {self.folder} already holds step {self.latest}; remove the folders of the steps from "
                f"{step} on, or choose another workdir."
            )

    def restore(self, abstract_state: Any, step: int | None = None) -> tuple[int, Any]:
        """The step, the latest if not given, and its state, placed as the shardings of `abstract_state` say.

        A leaf whose sharding is None comes back as a NumPy array.
        Raises InputError where the files are damaged or their leaves are not those of `abstract_state`.
        """
        step = self.resolve("latest") if step is None else step
        with self._remedy(step):
            return step, self._read(step, abstract_state)

    def restore_newest(self, abstract_state: Any, report: Callable[[str], None]) -> tuple[int, Any]:
        """The newest step whose files are as they were written, and its state, for a run that goes on from there.

        Damaged steps after it are reported, and set aside: `N` becomes `N.damaged`. Raises InputError, and changes
        nothing, where no step is whole.
        """
        damaged: dict[int, Damaged] = {}
        for step in reversed(self.steps):
            try:
                state = self._read(step, abstract_state)
                break
            except Damaged as found:
                damaged[step] = found
        else:
            raise InputError(
                f"{next(iter(damaged.values()))}, and no older checkpoint is whole; restore {self.folder} from a copy, "
                "or delete it to begin anew."
            )
        for other, found in damaged.items() if not jax.process_index() else ():
            aside = self.folder / f"{other}.damaged"
            shutil.rmtree(aside, ignore_errors=True)
            (self.folder / str(other)).rename(aside)
            report(f"{found}; step {other} is set aside as {aside.name}")
        return step, state

    def restore_params(self, step: int, abstract_params: dict[str, Any]) -> dict[str, Any]:
        """The parameters alone, as NumPy arrays; the optimizer is not read.

        Raises InputError where files are damaged, or the parameters are not of the shapes of `abstract_params`.
        """
        with self._remedy(step):
            return self._read(step, {"params": abstract_params}, partial=True)["params"]

    def metrics(self, step: int) -> dict[str, Any]:
        """What was saved beside the state of a step; nothing where that is missing or damaged, as `restore` says."""
        file = self.folder / str(step) / METRICS
        try:
            values = json.loads(file.read_text()) if file.is_file() else {}
        except (OSError, ValueError, RecursionError):
            return {}
        return values if isinstance(values, dict) else {}

    def wait(self) -> None:
        """Returns when the last save is committed. Raises InputError where it does not fit on the disk."""
        if self._manager:
            with writing(self._unwritten):
                self._manager.wait_until_finished()
                self._manager.check_for_errors()

    def close(self) -> None:
        """Waits for the last save, then stops the threads."""
        self.wait()
        if self._manager:
            with writing(self._unwritten):
                self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _unwritten(self, reason: str) -> str:
        step = self._saving[0]
        older = [other for other in self.steps if other != step]
        kept = f"the checkpoint of step {older[-1]} is kept" if older else "there is none before it"
        return f"step {step}: its checkpoint cannot be written to {self.folder} ({reason}); {kept}"

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is None:
            options = ocp.CheckpointManagerOptions(
                preservation_policy=_NewestAndBest(self._keep, self._best),
                cleanup_tmp_directories=True,
                lightweight_initialize=True,  # what Orbax tells itself of older steps is no part of their manifest
                async_options=ocp.options.AsyncOptions(post_finalization_callback=self._seal),
            )
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        return self._manager

    def _seal(self) -> None:
        """Adds metrics and digests to the step's temporary folder, in the background, just before it is committed.

        The two files that Orbax still writes at the root of the folder are for Orbax alone, and not read here.
        """
        if jax.process_index():
            return
        step, metrics = self._saving
        (folder,) = self.folder.glob(f"{step}.orbax-checkpoint-tmp*")
        (folder / METRICS).write_text(json.dumps({name: json_value(value) for name, value in metrics.items()}))
        write_manifest(folder)

    def _best(self, steps: Sequence[int]) -> int | None:
        values = {step: self._value(step) for step in steps}
        finite = [step for step in steps if math.isfinite(values[step])]
        return min(finite, key=lambda step: (values[step], step), default=None)

    def _value(self, step: int) -> float:
        saving, metrics = self._saving
        if step != saving:
            metrics = self.metrics(step)  # none where it is being deleted
        try:
            return float(metrics.get(self._least, math.nan))
        except (TypeError, ValueError, OverflowError):  # written by somebody else
            return math.nan

    def _read(self, step: int, abstract: Any, *, partial: bool = False) -> Any:
        """Raises Damaged where the files are not as they were written, or no state; as `read_state` does else."""
        folder = self.folder / str(step)
        if file := damage(folder):
            raise Damaged(file, "is damaged or missing")
        try:
            return read_state(folder / STATE, abstract, partial=partial)
        except Unreadable as found:
            if jax.process_count() > 1:  # the others may have read their parts of it, and would not go back
                raise InputError(f"{found}; delete {folder}.") from found
            raise

    @contextlib.contextmanager
    def _remedy(self, step: int) -> Iterator[None]:
        """Says what to do about damage of a step that was named. Raises InputError where there is no such step."""
        folder = self.folder / str(self.resolve(str(step)))
        try:
            yield
        except Damaged as found:
            others = [str(other) for other in self.steps if other != step]
            remedy = f"delete {folder}" + (f" or pass --step={others[-1]}" if others else "")
            raise InputError(f"--step={step}: {found.file} {found.how}; {remedy}.") from found


@dataclasses.dataclass(frozen=True)
class _NewestAndBest:
    """An Orbax preservation policy. Orbax's own best-of-n deletes the newest step where that is not the best."""

    keep: int
    best: Callable[[Sequence[int]], int | None]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {*steps[-self.keep :], self.best(steps)}
        return [step in kept for step in steps]
