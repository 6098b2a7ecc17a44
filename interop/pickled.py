"""Tensors of a `pytorch_model.bin` without torch: a pickle that may build tensors, and nothing else.

A pickle is a program, and a downloaded one is a stranger's. This one can name five constructors; any other name it
asks for is refused before anything is called.
"""

import collections
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from batch import InputError
from interop.names import Values

STORAGES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}


def read_pickled(file: Path) -> dict[str, Values]:
    """The tensors of the file, by name. Raises InputError where it asks for anything but tensors."""
    if not zipfile.is_zipfile(file):
        raise InputError(
            f"--from_hf: {file} is no zip archive: it is cut short, or of a torch before 1.6; fetch it again, or load "
            "it with transformers and save_pretrained it, which writes model.safetensors."
        )
    with zipfile.ZipFile(file) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > file.stat().st_size:
            raise ValueError("it unpacks to more than it holds, and torch does not compress")
        (program,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(program) as stream:
            found = _Tensors(stream, archive, program.removesuffix("data.pkl"), file).load()
    if not isinstance(found, dict) or not all(isinstance(tensor, np.ndarray) for tensor in found.values()):
        raise InputError(f"--from_hf: {file} holds more than named tensors; give a state dict of the model.")
    return dict(found)


class _Tensors(pickle.Unpickler):
    """Builds arrays over the archive's storages."""

    def __init__(self, stream: Any, archive: zipfile.ZipFile, prefix: str, file: Path):
        super().__init__(stream)
        self._archive, self._prefix, self._file = archive, prefix, file

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        if (module, name) not in known:
            raise InputError(
                f"--from_hf: {self._file} asks for {module}.{name}, and may only build tensors; do not trust it, and "
                "look for a model.safetensors."
            )
        return known[module, name]

    def persistent_load(self, pid: Any) -> Values:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise ValueError(f"unknown storage {kind}")
        return np.frombuffer(self._archive.read(f"{self._prefix}data/{key}"), dtype)[:count]


def _tensor(storage: Values, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Values:
    """A view of a storage; sizes and strides that reach beyond it, or show a number of it twice, are refused."""
    reach = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if all(size) else offset - 1
    if min((offset, *size, *stride), default=0) < 0 or reach >= len(storage) or math.prod(size) > len(storage):
        raise ValueError("a tensor reaches beyond its storage")
    strides = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)
