"""A Hugging Face folder as what a workdir needs: an experiment, parameters and a tokenizer."""

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from batch import InputError
from data.tokenizer import AnyTokenizer
from interop.config_export import to_config
from interop.config_import import read_config, to_experiment
from interop.exporting import EXPERIMENT
from interop.tensors import read_tensors
from interop.tokenizers import import_tokenizer
from interop.weights import account, to_params
from training.build import check_fit
from training.config import Experiment, from_dict
from training.overrides import override


@dataclasses.dataclass(frozen=True, eq=False)
class Imported:
    experiment: Experiment
    params: dict[str, Any]
    tokenizer: AnyTokenizer
    notes: list[str]  # a sentence for each tensor that did not simply fit

    @property
    def description(self) -> str:
        """The model and its size."""
        size = sum(leaf.size for leaf in jax.tree.leaves(self.params))
        return f"{type(self.experiment.model).__name__}, {size:,} parameters"


def import_folder(folder: Path, fields: Sequence[tuple[str, str]] = (), *, allow: Sequence[str] = ()) -> Imported:
    """Reads config.json, weights and tokenizer of a folder; `fields` change the experiment, as --config.FIELD does.

    Raises InputError, before anything is written, for whatever does not fit together.
    """
    _check_files(folder)
    values, tensors = read_config(folder), read_tensors(folder)
    vocab_size = values.get("vocab_size")
    if not isinstance(vocab_size, int) or vocab_size < 1:
        raise InputError(f"config.json: vocab_size={vocab_size}: must be the rows of the token table; correct it.")
    found = to_experiment(values, set(tensors))
    account(tensors, found.model, vocab_size, allow)  # before the tokenizer, which may need a package of its own
    tokenizer = import_tokenizer(folder, vocab_size)
    experiment = override(_remembered(folder, values, tokenizer) or found, list(fields))
    check_fit(experiment)
    params, notes = to_params(tensors, experiment.model, vocab_size, allow=allow, seed=experiment.seed)
    return Imported(experiment, params, tokenizer, notes)


def _check_files(folder: Path) -> None:
    """Raises InputError where a folder holds a pipe or a device, or a link to one, which would be read for ever."""
    with contextlib.suppress(OSError):  # there is no folder, or it cannot be read: the first file says so
        for file in sorted(folder.iterdir()):
            if not (file.is_file() or file.is_dir()):
                raise InputError(f"--from_hf: {file} is neither a file nor a folder; remove it.")


def _remembered(folder: Path, values: dict[str, Any], tokenizer: AnyTokenizer) -> Experiment | None:
    """The experiment that our own export wrote beside config.json, unless the two no longer agree."""
    try:
        experiment = from_dict(json.loads((folder / EXPERIMENT).read_text()))
        described = to_config(experiment, tokenizer.vocab, values["vocab_size"])
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        return None
    same = all(values.get(name) == value for name, value in described.items())
    return dataclasses.replace(experiment, init_from=None) if same else None
