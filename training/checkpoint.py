"""Checkpoints of a run: written in the background, committed atomically, checked before they are used."""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from batch import InputError
from training.metrics import json_value

STATE = "state"
METRICS = "metrics.json"
MANIFEST = "SHA256SUMS"
"""The digests of a step's files, in the format of sha256sum: `sha256sum -c SHA256SUMS` checks a step by hand."""


class Checkpoints:
    """The checkpoints in `workdir`: the newest `keep`, and the one with the least held-out loss.

    A step is a folder, `checkpoints/STEP`, that appears complete or not at all. Reading changes nothing, so a run may
    be read while it trains; the first save removes what a killed save left behind.
    """

    def __init__(self, workdir: str | os.PathLike[str], keep: int = 1):
        self.folder = Path(workdir).absolute() / "checkpoints"
        self._keep = keep
        self._manager: ocp.CheckpointManager | None = None
        self._saving: tuple[int, dict[str, Any]] = (-1, {})

    @property
    def steps(self) -> list[int]:
        """The steps that can be restored, in order."""
        folders = self.folder.iterdir() if self.folder.is_dir() else []
        return sorted(int(folder.name) for folder in folders if folder.name.isdigit())

    @property
    def latest(self) -> int | None:
        """The newest step, None before the first save."""
        return max(self.steps, default=None)

    @property
    def best(self) -> int | None:
        """The step with the least `metrics["loss"]`, the earliest of equals; None where no step has a finite one."""
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
            raise InputError(f"--step=best: no checkpoint in {self.folder} has a held-out loss; {available}.")
        return step

    def save(self, step: int, state: Any, metrics: Mapping[str, Any] | None = None) -> None:
        """Begins to save `state`, which may be donated as soon as this returns.

        Waits for the save before it, whose errors are raised here. Only a finite `metrics["loss"]` can become best.
        Raises InputError where a step as late as this one is already there.
        """
        self.wait()
        self._saving = step, dict(metrics or {})
        manager = self._open()
        if not manager.save(step, args=ocp.args.Composite(**{STATE: ocp.args.PyTreeSave(state)})):
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
        self.verify(step)
        self._compare(step, abstract_state)
        restore_args = ocp.checkpoint_utils.construct_restore_args(abstract_state)
        return step, self._read(step, ocp.args.PyTreeRestore(item=abstract_state, restore_args=restore_args))

    def restore_params(self, step: int) -> dict[str, Any]:
        """The parameters alone, as NumPy arrays; the optimizer is not read. Raises InputError on damaged files."""
        self.verify(step)
        params = {"params": self._stored(step)["params"]}
        restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), params)
        item = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
        args = ocp.args.PyTreeRestore(item=item, restore_args=restore_args, partial_restore=True)
        return self._read(step, args)["params"]

    def verify(self, step: int) -> None:
        """Raises InputError, with the file and the remedy, unless every file of the step is as it was written."""
        folder = self.folder / str(self.resolve(str(step)))
        others = [str(other) for other in self.steps if other != step]
        remedy = f"delete {folder}" + (f" or pass --step={others[-1]}" if others else "")
        manifest = folder / MANIFEST
        if not manifest.is_file():
            raise InputError(f"--step={step}: {manifest} is missing; {remedy}.")
        for line in manifest.read_text(errors="replace").splitlines():
            digest, _, name = line.partition("  ")
            if not (folder / name).is_file() or _digest(folder / name) != digest:
                raise InputError(f"--step={step}: {folder / name} is damaged or missing; {remedy}.")

    def wait(self) -> None:
        """Returns when the last save is committed. Raises what went wrong with it."""
        if self._manager:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def close(self) -> None:
        """Waits for the last save, then stops the threads."""
        self.wait()
        if self._manager:
            self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is None:
            options = ocp.CheckpointManagerOptions(
                preservation_policy=_NewestAndBest(self._keep, self._best),
                cleanup_tmp_directories=True,
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
        files = [folder / METRICS, *sorted(file for file in (folder / STATE).rglob("*") if file.is_file())]
        lines = [f"{_digest(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
        (folder / MANIFEST).write_text("".join(lines))

    def _best(self, steps: Sequence[int]) -> int | None:
        losses = {step: self._loss(step) for step in steps}
        finite = [step for step in steps if math.isfinite(losses[step])]
        return min(finite, key=lambda step: (losses[step], step), default=None)

    def _loss(self, step: int) -> float:
        saving, metrics = self._saving
        if step != saving:
            file = self.folder / str(step) / METRICS
            try:
                metrics = json.loads(file.read_text())
            except (OSError, ValueError):  # being deleted, or damaged: `verify` says which
                metrics = {}
        return float(metrics.get("loss", math.nan))

    def _read(self, step: int, args: ocp.args.PyTreeRestore) -> Any:
        with ocp.PyTreeCheckpointer() as reader:
            return reader.restore(self.folder / str(step) / STATE, args=args)

    def _stored(self, step: int) -> Any:
        """Shape and dtype of every leaf of a step, in nested dictionaries and lists."""
        return ocp.PyTreeCheckpointHandler().metadata(epath.Path(self.folder / str(step) / STATE)).tree

    def _compare(self, step: int, abstract_state: Any) -> None:
        """Raises InputError unless leaves, shapes and types agree: Orbax would cast a type without a word."""
        stored, wanted = _leaves(self._stored(step)), _leaves(abstract_state)
        found = [f"{name} is missing" for name in wanted if name not in stored]
        found += [f"{name} is not of this experiment" for name in stored if name not in wanted]
        for name in wanted.keys() & stored.keys():
            if stored[name] != wanted[name]:
                found.append(f"{name} is {stored[name]}, expected {wanted[name]}")
        if found:
            folder = self.folder / str(step)
            raise InputError(f"{folder}: is of another experiment: {'; '.join(sorted(found))}; name another workdir.")


@dataclasses.dataclass(frozen=True)
class _NewestAndBest:
    """An Orbax preservation policy. Orbax's own best-of-n deletes the newest step where that is not the best."""

    keep: int
    best: Callable[[Sequence[int]], int | None]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {*steps[-self.keep :], self.best(steps)}
        return [step in kept for step in steps]


def _leaves(tree: Any) -> dict[str, str]:
    """Shape and type of every leaf, as `float32[2 3]`, under its path."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): f"{np.dtype(leaf.dtype)}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
