"""Tensors of a Hugging Face checkpoint to our parameters and back, every one accounted for."""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from batch import InputError
from interop.names import BARE, UNTIED, Row, Values, canonical, rows
from models import ModelConfig, build_model
from models.parameters import abstract_params, initialize

MOST_MISSING = 10
"""How many times larger than its tensors a model may be, whose other parameters are drawn anew."""

TIED_BIAS = {"cls.predictions.decoder.bias": "cls.predictions.bias"}
"""Copies that BERT's checkpoints may hold of another tensor, beside the head's table."""


@dataclasses.dataclass(frozen=True)
class Account:
    """The tensors of a checkpoint under our tables' names, what our model expects, and how the two differ."""

    tensors: dict[str, Values]
    shapes: dict[str, tuple[int, ...]]  # of our parameters
    expected: dict[str, tuple[int, ...]]  # of their tensors
    problems: dict[str, str]  # a sentence for each tensor that is missing, left over or of another shape


def account(tensors: Mapping[str, Values], config: ModelConfig, vocab_size: int, allow: Sequence[str] = ()) -> Account:
    """Accounts for every tensor. Raises InputError for what does not fit, unless a pattern of `allow` names it."""
    check_size(tensors, config, vocab_size)
    theirs = without_copies(canonical_names(tensors, config), config)
    abstract = abstract_params(build_model(config, vocab_size))
    leaves: dict[str, Any] = traverse_util.flatten_dict(abstract, sep="/")
    shapes = {name: leaf.shape for name, leaf in leaves.items()}
    expected = {name: shape for row in rows(config) for name, shape in tensor_shapes(row, shapes).items()}
    problems = differences({name: tensor.shape for name, tensor in theirs.items()}, expected)
    refused = [
        problem
        for name, problem in problems.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in allow)
    ]
    if refused:
        raise InputError(
            f"--from_hf: {'; '.join(refused)}; give the complete checkpoint, or name them, as in "
            "--allow_missing='cls.*,lm_loss.*'."
        )
    return Account(theirs, shapes, expected, problems)


def check_size(tensors: Mapping[str, Values], config: ModelConfig, vocab_size: int) -> None:
    """Raises InputError, before anything of its size is built, for a model that these tensors cannot be the bulk of."""
    rows, width = vocab_size + (config.longest_window or 0) + (config.num_segments or 0), config.model_dim
    described = width * (rows + config.num_layers * (width + config.mlp_dim))
    held = sum(tensor.size for tensor in tensors.values())
    if described > MOST_MISSING * held:
        raise InputError(
            f"config.json: describes a model of {described:,} parameters or more, and the tensors hold {held:,}; give "
            "the config.json of these weights."
        )


def to_params(
    tensors: Mapping[str, Values], config: ModelConfig, vocab_size: int, *, allow: Sequence[str] = (), seed: int = 0
) -> tuple[dict[str, Any], list[str]]:
    """Our parameters from their tensors, and a sentence for each tensor that did not simply fit.

    Of the tensors that `allow` names, a missing or misshapen one is drawn anew from `seed`, and one left over is not
    read. Raises InputError as `account` does.
    """
    found = account(tensors, config, vocab_size, allow)
    fresh = found.problems.keys() & found.expected.keys()
    params: dict[str, Any] = traverse_util.flatten_dict(drawn(config, vocab_size, seed), sep="/") if fresh else {}
    read = {name: np.asarray(found.tensors[name], np.float32) for name in found.expected if name not in fresh}
    for row in rows(config):
        params |= _ours(row, read, found.shapes, params)
    notes = [f"{problem}; {'drawn anew' if name in fresh else 'not read'}" for name, problem in found.problems.items()]
    return traverse_util.unflatten_dict(params, sep="/"), notes


def to_tensors(params: dict[str, Any], config: ModelConfig) -> dict[str, Values]:
    """Their tensors, by name, from our parameters. Raises InputError where a parameter has no place among them."""
    flat = {name: np.asarray(leaf) for name, leaf in traverse_util.flatten_dict(params, sep="/").items()}
    table = rows(config)
    homeless = sorted(flat.keys() - {name for row in table for name in row.ours})
    if homeless:
        raise InputError(f"--to_hf: Hugging Face's model has no tensor for {', '.join(homeless)}.")
    return {name: np.ascontiguousarray(tensor) for row in table for name, tensor in _theirs(row, flat).items()}


def canonical_names(tensors: Mapping[str, Values], config: ModelConfig) -> dict[str, Values]:
    """The tensors under the names of our tables, buffers dropped."""
    bare = not any(name.startswith(BARE[type(config)]) for name in tensors)
    named = ((canonical(name, type(config), bare), tensor) for name, tensor in tensors.items())
    return {name: tensor for name, tensor in named if name is not None}


def without_copies(tensors: dict[str, Values], config: ModelConfig) -> dict[str, Values]:
    """The tensors without the copies of tied ones. Raises InputError where a copy is not one."""
    table = next(row.theirs for row in rows(config) if row.ours == ("tokens/table",))
    copies = TIED_BIAS | ({UNTIED[type(config)]: table} if config.tied else {})
    kept = {name: tensor for name, tensor in tensors.items() if name not in copies}
    for copy in copies.keys() & tensors.keys():
        original = kept.setdefault(copies[copy], tensors[copy])
        if not np.array_equal(original, tensors[copy]):
            raise InputError(
                f"--from_hf: {copy} differs from {copies[copy]}, to which config.json ties it; "
                "set tie_word_embeddings to false there if they were trained apart."
            )
    return kept


def differences(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """What is missing, left over or of another shape, by name."""
    problems = {name: f"{name} is missing" for name in expected if name not in found}
    problems |= {name: f"{name} is not a tensor of this model" for name in found if name not in expected}
    for name in found.keys() & expected.keys():
        if found[name] != expected[name]:
            problems[name] = f"{name} is {list(found[name])}, and config.json says {list(expected[name])}"
    return dict(sorted(problems.items()))


def drawn(config: ModelConfig, vocab_size: int, seed: int) -> dict[str, Any]:
    """Initial values."""
    return jax.tree.map(np.asarray, initialize(build_model(config, vocab_size), jax.random.key(seed)))


def tensor_shapes(row: Row, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of one row of the table."""
    empty = {name: np.empty(shapes[name], np.bool_) for name in row.ours if name in shapes}
    return {name: tensor.shape for name, tensor in _theirs(row, empty).items()}


def _theirs(row: Row, flat: Mapping[str, Values]) -> dict[str, Values]:
    """The tensors of one row: as many as there are layers, if it is of a layer."""

    def fuse(parts: list[Values]) -> Values:
        laid = [row.layout.theirs(part) for part in parts]
        return laid[0] if len(laid) == 1 else np.concatenate(laid, axis=-1)

    parts = [flat[name] for name in row.ours]
    if "{n}" not in row.theirs:
        return {row.theirs: fuse(parts)}
    layers = range(len(parts[0]))
    return {row.theirs.replace("{n}", str(n)): fuse([part[n] for part in parts]) for n in layers}


def _ours(
    row: Row, read: Mapping[str, Values], shapes: Mapping[str, tuple[int, ...]], fallback: Mapping[str, Values]
) -> dict[str, Values]:
    """The parameters of one row, from the tensors that were read and otherwise from `fallback`."""

    def split(tensor: Values, index: int, shape: tuple[int, ...]) -> Values:
        return row.layout.ours(np.split(tensor, len(row.ours), axis=-1)[index], shape)

    found: dict[str, Values] = {}
    for index, name in enumerate(row.ours):
        shape = shapes[name]
        if "{n}" not in row.theirs:
            found[name] = split(read[row.theirs], index, shape) if row.theirs in read else fallback[name]
            continue
        by_layer = [row.theirs.replace("{n}", str(n)) for n in range(shape[0])]
        own = [split(read[t], index, shape[1:]) if t in read else fallback[name][n] for n, t in enumerate(by_layer)]
        found[name] = np.stack(own)
    return found
