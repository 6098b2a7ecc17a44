"""The folder of a run: what experiment it holds, so that nothing else is ever continued in it."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from batch import InputError
from data.prepare import with_known_cache
from data.task import TaskData
from data.tokenizer import AnyTokenizer, load_tokenizer
from training.config import Experiment, flat, from_dict, to_dict
from training.processes import is_first

FILE = "experiment.json"
TOKENIZER = "tokenizer"


@runtime_checkable
class Claimed(Protocol):
    """What a run reads, as far as its folder must know it."""

    @property
    def tokenizer(self) -> AnyTokenizer: ...

    @property
    def corpus_digest(self) -> str: ...


def stored_experiment(workdir: Path) -> Experiment:
    """The experiment of pretraining that a workdir holds. Raises InputError where there is none."""
    experiment = _stored(workdir)
    if isinstance(experiment.data, TaskData):
        raise InputError(
            f"--workdir={workdir}: holds a model of the task {experiment.data.task}; name the pretrained run that it "
            "was fine-tuned from."
        )
    return experiment


def opened_experiment(workdir: Path) -> Experiment:
    """The experiment of a run whose data is to be read again. The run may be a stranger's: see `with_known_cache`."""
    experiment = stored_experiment(workdir)
    return dataclasses.replace(experiment, data=with_known_cache(experiment.data))


def stored_tokenizer(workdir: Path) -> AnyTokenizer | None:
    """The tokenizer that a workdir's run was trained with, None before its first run."""
    return load_tokenizer(workdir / TOKENIZER) if (workdir / FILE).exists() else None


def identity(experiment: Experiment, tokenizer_digest: str, corpus_digest: str | None) -> dict[str, Any]:
    """What a run is: cadence and paths may change when it is resumed, nothing of this may.

    The digest of the corpus is None for parameters that were imported, which saw none of ours.
    """
    values = to_dict(experiment)
    for changeable in ("training", "mesh", "init_from", "remat"):
        values.pop(changeable)
    for path in ("cache", "corpus", "folder"):
        values["data"].pop(path, None)
    values |= {"corpus_digest": corpus_digest, "tokenizer_digest": tokenizer_digest}
    return json.loads(json.dumps(values))


def stored_identity(workdir: Path) -> dict[str, Any]:
    """The identity of the run that a workdir holds; fields that came after it have their defaults."""
    told = _read(workdir)["identity"]
    corpus = told.get("corpus_digest")
    corpus_digest = None if corpus is None else str(corpus)
    return identity(_stored(workdir), str(told.get("tokenizer_digest")), corpus_digest)


def check_identity(workdir: Path, experiment: Experiment, prepared: Claimed, flag: str = "workdir") -> None:
    """Raises InputError where a folder, which `flag` chooses, holds another experiment, naming what differs."""
    if (workdir / FILE).exists():
        own = identity(experiment, prepared.tokenizer.digest, prepared.corpus_digest)
        _compare(workdir, flat(stored_identity(workdir)), flat(own), flag)


def claim(workdir: Path, experiment: Experiment, prepared: Claimed) -> None:
    """Writes down whose folder this is. Raises InputError where it is another experiment's, or cannot be written."""
    check_identity(workdir, experiment, prepared)
    if is_first():
        _write(workdir, experiment, prepared.tokenizer, prepared.corpus_digest)


def claim_imported(workdir: Path, experiment: Experiment, tokenizer: AnyTokenizer) -> None:
    """Makes a folder that of imported parameters. Raises InputError where it holds a run, or cannot be written."""
    if (workdir / FILE).exists():
        raise InputError(f"--workdir={workdir}: already holds a run; name a new folder.")
    _write(workdir, experiment, tokenizer, None)


def _write(workdir: Path, experiment: Experiment, tokenizer: AnyTokenizer, corpus_digest: str | None) -> None:
    own = identity(experiment, tokenizer.digest, corpus_digest)
    text = json.dumps({"experiment": to_dict(experiment), "identity": own}, indent=2)
    building = workdir / f"{FILE}.tmp"
    try:
        if not (workdir / FILE).exists():
            workdir.mkdir(parents=True, exist_ok=True)
            tokenizer.save(workdir / TOKENIZER)
        building.write_text(text + "\n")
        os.replace(building, workdir / FILE)
    except OSError as error:
        raise unwritable(workdir, error) from error


def unwritable(workdir: Path, error: OSError) -> InputError:
    """What to say of a folder that cannot be written."""
    return InputError(f"--workdir={workdir}: cannot be written ({error.strerror}); name another folder.")


def check_corpus(workdir: Path, prepared: Claimed) -> None:
    """Raises InputError where the corpus is no longer the one that the workdir's run was trained on.

    Imported parameters were trained on none of ours, so that any will do.
    """
    stored = _read(workdir)["identity"].get("corpus_digest")
    if stored is not None and stored != prepared.corpus_digest:
        raise InputError(
            f"--workdir={workdir}: data.corpus has changed since training (now {prepared.corpus_digest[:16]}, then "
            f"{str(stored)[:16]}): its held-out text may have been trained on; restore the corpus."
        )


def _stored(workdir: Path) -> Experiment:
    values = _read(workdir)["experiment"]
    try:
        return from_dict(values)
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise _damaged(workdir / FILE, error) from error


def _read(workdir: Path) -> dict[str, Any]:
    file = workdir / FILE
    if not file.is_file():
        raise InputError(f"--workdir={workdir}: holds no {FILE}; name the workdir of a run.")
    try:
        values = json.loads(file.read_text())
        return {"experiment": dict(values["experiment"]), "identity": dict(values["identity"])}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> InputError:
    return InputError(f"{file}: is damaged ({type(error).__name__}); restore it, or name another workdir.")


def _compare(workdir: Path, stored: dict[str, Any], own: dict[str, Any], flag: str) -> None:
    differing = [name for name in own | stored if stored.get(name) != own.get(name)]
    if differing:
        changes = "; ".join(f"{name} is {stored.get(name)} there and {own.get(name)} here" for name in differing[:4])
        more = f" (and {len(differing) - 4} more)" if len(differing) > 4 else ""
        raise InputError(f"--{flag}={workdir}: holds another experiment: {changes}{more}; choose another {flag}.")
