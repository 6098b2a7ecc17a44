"""What the files of a state hold, believed only as far as it is what was expected.

A manifest tells that files are as they were written, and not by whom. Orbax writes an array as TensorStore's zarr in
one ocdbt store, under its path, with descriptions beside it that it would take at their word. Here the arrays alone are
opened, compared with those that are wanted, and then read: nothing is allocated that was not asked for.

(Orbax also reads in an event loop that it closes at the first error, and what is under way then ends in tracebacks.)
"""

import contextlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorstore as ts

from batch import InputError
from training.manifest import Damaged

ARRAY = "/.zarray"
"""Ends the key under which an array is described."""

CACHE = 1 << 26
"""Bytes of the store's index that are kept while its arrays are read."""


class Unreadable(Damaged):
    """Files that are as they were written, and not those of a state."""


def read_state(folder: Path, abstract: Any, *, partial: bool = False) -> Any:
    """The leaves of a state, each of the shape and type of its `abstract` one, placed as that one's sharding says.

    A leaf whose sharding is None comes back as a NumPy array. `partial`: groups that `abstract` lacks are not read.
    Raises InputError where leaves, shapes or types differ, or are too large for this machine, and Unreadable where
    nothing can be made of the files.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(abstract)
    wanted = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
    with _understood(folder):
        arrays = _open_arrays(folder, [*abstract] if partial else None)
        stored = {name: _stored(array) for name, array in arrays.items()}
    _compare(folder, stored, {name: _described(np.dtype(leaf.dtype), leaf.shape) for name, leaf in wanted.items()})
    _check_memory(folder, wanted.values())
    with _understood(folder):
        return jax.tree.unflatten(structure, [_read(arrays[name], leaf) for name, leaf in wanted.items()])


def _open_arrays(folder: Path, groups: list[str] | None) -> dict[str, ts.TensorStore]:
    context = ts.Context({"cache_pool": {"total_bytes_limit": CACHE}})
    files = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder}/"}}
    keys = ts.KvStore.open(files, context=context).result().list().result()
    names = [key.decode(errors="replace").removesuffix(ARRAY) for key in keys if key.endswith(ARRAY.encode())]
    spec = {"driver": "zarr", "fill_missing_data_reads": False}
    opening = {
        name: ts.open(spec | {"kvstore": files | {"path": f"{name}/"}}, open=True, read=True, context=context)
        for name in names
        if groups is None or name.partition(".")[0] in groups
    }
    return {name: array.result() for name, array in opening.items()}


def _read(array: ts.TensorStore, leaf: Any) -> np.ndarray | jax.Array:
    if leaf.sharding is None:
        return array.read().result()
    return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: array[index].read().result())


@contextlib.contextmanager
def _understood(folder: Path) -> Iterator[None]:
    """Says in a few words what TensorStore raises, which may be anything."""
    try:
        yield
    except Exception as error:
        said = " ".join(str(error).partition(" [")[0].split())[:200].rstrip(".")
        reason = f"{type(error).__name__}: {said}" if said else type(error).__name__
        raise Unreadable(folder, f"cannot be read ({reason})") from error


def _compare(folder: Path, stored: dict[str, str], wanted: dict[str, str]) -> None:
    """Raises InputError unless leaves, shapes and types agree."""
    found = [f"{name} is missing" for name in wanted if name not in stored]
    found += [f"{name} is not of this experiment" for name in stored if name not in wanted]
    for name in wanted.keys() & stored.keys():
        if stored[name] != wanted[name]:
            found.append(f"{name} is {stored[name]}, expected {wanted[name]}")
    if found:
        differences = "; ".join(sorted(found))
        raise InputError(f"{folder.parent}: is of another experiment: {differences}; name another workdir.")


def _check_memory(folder: Path, leaves: Iterable[Any]) -> None:
    """Raises InputError where arrays of the host exceed its memory, whatever files and experiment agree on."""
    needed = sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves if leaf.sharding is None)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise InputError(
            f"{folder.parent}: has parameters of {needed:,} bytes, and this machine a memory of {memory:,}; use a "
            "larger one."
        )


def _stored(array: ts.TensorStore) -> str:
    """Type and shape; also the shape of stored pieces that are larger, as each is allocated whole."""
    described = _described(array.dtype.numpy_dtype, array.shape)
    pieces: Any = array.chunk_layout.read_chunk.shape or ()  # a scalar has none
    fits = all(piece <= max(size, 1) for piece, size in zip(pieces, array.shape, strict=True))
    return described if fits else f"{described} in pieces of {list(pieces)}"


def _described(dtype: np.dtype, shape: Sequence[int]) -> str:
    return f"{dtype}{list(shape)}"
