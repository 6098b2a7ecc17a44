"""What a frozen trunk says of the examples of a task, computed once and kept in a file for all epochs, rates and seeds.

A file holds, in the order of `reading_order`, the float32 of each slot that a head reads and each layer of it, and
then their SHA-256. Its name is a digest of all that decides them: checkpoint, model, rows, layers, visibility,
precision and padding.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx, traverse_util
from jaxtyping import Float, Int

from batch import Batch, InputError
from finetuning.encoding import Encoded
from finetuning.run import TaskRun
from finetuning.start import draw, features_of, flat, trunk_model
from finetuning.stream import reading_order, slots
from models import Model
from models.features import SideBySide
from models.parameters import abstract_params
from training.config import to_dict
from training.disk import writing
from training.keys import held_out_key

TAIL = hashlib.sha256().digest_size
Report = Callable[[str], None]
Features = tuple[np.ndarray, ...]
"""What is read of each row: slots, layers, width."""


@dataclasses.dataclass(frozen=True, eq=False)
class Frozen:
    """The files of features in a folder, which are made as they are asked for."""

    folder: Path
    _opened: dict[Path, Features] = dataclasses.field(default_factory=dict)

    def sets(
        self, run: TaskRun, sets: Mapping[str, Encoded], start: Callable[[], Any], report: Report
    ) -> dict[str, Encoded]:
        """The sets with the features of the run's trunk; `start()` are the run's first parameters, None if drawn.

        What is not there, or damaged, is computed; its size is told before. Raises InputError where there is no room.
        """
        paths = {name: self.folder / f"{key(run, own)}.f32" for name, own in sets.items()}
        new = {path: name for name, path in paths.items() if path not in self._opened}
        shapes = {name: layout(run, sets[name]) for name in new.values()}
        found = {path: opened(path, sets[name], shapes[name], report) for path, name in new.items()}
        missing = {path: name for path, name in new.items() if found[path] is None}
        if missing:
            self.make_room({name: 4 * int(np.prod(shapes[name])) for name in missing.values()}, report)
            trunk = trunk_of(run)
            params = trunk_params(run, trunk, start())
            program = reader(run, trunk)
            for path, name in missing.items():
                write(path, features(run, sets[name], program, params))
                found[path] = opened(path, sets[name], shapes[name], report)
        self._opened.update({path: own for path, own in found.items() if own is not None})
        return {name: dataclasses.replace(sets[name], features=self._opened[path]) for name, path in paths.items()}

    def make_room(self, needed: Mapping[str, int], report: Report) -> None:
        """Says how much will be written. Raises InputError where the disk has less."""
        with writing(lambda reason: f"{self.folder}: cannot be written ({reason})"):
            self.folder.mkdir(parents=True, exist_ok=True)
        free, told = shutil.disk_usage(self.folder).free, ", ".join(f"{n} {size:,}" for n, size in needed.items())
        if sum(needed.values()) > free:
            raise InputError(
                f"--adapt=frozen: the features of {told} bytes exceed the {free:,} that are free on the disk of "
                f"{self.folder}; make room, or read the trunk in every epoch with --nokeep_features."
            )
        report(f"{self.folder}: features of {told} bytes are computed once and kept")


def key(run: TaskRun, rows: Encoded) -> str:
    """Tells the features of a set from those of every other set, trunk or way to read it."""
    experiment, data = run.experiment, run.experiment.data
    drawn = f"seed {experiment.seed}" if experiment.init_from is None else data.start
    told = [drawn, to_dict(experiment)["model"], getattr(experiment.objective, "visibility", None)]
    told += [experiment.precision, layers_of(run), data.buckets, run.dev.pad_side, run.dev.pad, rows.tags is not None]
    digest = hashlib.sha256(json.dumps(told).encode())
    for i, row in enumerate(rows.rows):
        places = () if rows.places is None else rows.places[i]
        parts = (row.tokens, row.segments, np.broadcast_to(row.document, row.tokens.shape), row.summary, places)
        for part in parts:
            own = np.asarray(part, np.int32)
            digest.update(own.size.to_bytes(8, "little") + own.tobytes())
    return digest.hexdigest()[:32]


def layers_of(run: TaskRun) -> tuple[int, ...]:
    """The layers that the head of a run reads."""
    config = run.experiment.model
    features = features_of(run.experiment.data.layers, config)
    return (config.num_layers,) if features is None else features.chosen


def layout(run: TaskRun, rows: Encoded) -> tuple[int, int, int]:
    """Slots, layers and width of the features of a set."""
    return int(counts(rows).sum()), len(layers_of(run)), run.experiment.model.model_dim


def counts(rows: Encoded) -> Int[np.ndarray, " n"]:
    """How many slots of each row are read."""
    if rows.tags is not None:
        return rows.lengths
    if rows.places is not None:
        return np.array([np.count_nonzero(own >= 0) for own in rows.places], np.int64)
    return np.ones(len(rows), np.int64)


def trunk_of(run: TaskRun) -> Model:
    """The trunk of a run without its head, whose hidden states are the layers that are read, side by side."""
    experiment, model = run.experiment, run.model
    trunk: Any = trunk_model(experiment.model, run.vocab.size, experiment.precision, "none", frozen=True)
    trunk.features = nnx.data(SideBySide(experiment.model.model_dim, layers_of(run)))
    assert flat(abstract_params(trunk)).keys() <= flat(abstract_params(model)).keys()
    return trunk


def trunk_params(run: TaskRun, trunk: Model, start: Any) -> Any:
    """The parameters of the trunk, of those that the run starts from, or else of those that its seed draws."""
    names = list(flat(abstract_params(trunk)))
    found = draw(run.model, run.experiment.seed, names) if start is None else flat(start)
    return traverse_util.unflatten_dict({name: found[name] for name in names}, sep="/")


def reader(run: TaskRun, trunk: Model) -> Callable[[Any, Batch], Float[jax.Array, "B P _"]]:
    """The jitted features of a batch."""
    graphdef, objective, vocab = nnx.graphdef(trunk), run.experiment.objective, run.vocab

    def read(params: Any, batch: Batch) -> Float[jax.Array, "B P _"]:
        inputs, _ = objective.prepare(batch, vocab, held_out_key())
        return nnx.merge(graphdef, params)(inputs).hidden

    return jax.jit(read)


def features(run: TaskRun, rows: Encoded, program: Callable[..., Any], params: Any) -> Iterator[np.ndarray]:
    """The features of a set, a batch at a time."""
    stream = dataclasses.replace(run.dev, examples=rows)
    for step in range(stream.steps_per_epoch):
        batch = stream.batch(step)
        yield np.asarray(program(params, batch), np.float32)[slots(batch)]


def write(path: Path, parts: Iterator[np.ndarray]) -> None:
    """Writes a file that is there whole or not at all."""
    digest = hashlib.sha256()
    with writing(lambda reason: f"{path}: cannot be written ({reason})"):
        building = path.with_name(f".{path.name}-{os.getpid()}")
        try:
            with building.open("wb") as file:
                for part in parts:
                    digest.update(part.tobytes())
                    file.write(part.tobytes())
                file.write(digest.digest())
            os.replace(building, path)
        finally:
            building.unlink(missing_ok=True)


def opened(path: Path, rows: Encoded, shape: tuple[int, int, int], report: Report) -> Features | None:
    """The features of a file, which stay on disk until they are read; None where it is not whole."""
    if not path.is_file():
        return None
    size = 4 * int(np.prod(shape))
    whole = path.stat().st_size == size + TAIL
    held = np.memmap(path, np.uint8, "r") if whole else None
    if held is None or hashlib.sha256(held[:size].data).digest() != held[size:].tobytes():
        report(f"{path}: is damaged; it is computed anew")
        return None
    values = np.asarray(held)[:size].view(np.float32).reshape(shape)
    order = reading_order(rows)
    parts = np.split(values, np.cumsum(counts(rows)[order])[:-1])
    return tuple(parts[place] for place in np.argsort(order))
