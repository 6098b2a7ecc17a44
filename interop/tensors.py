"""The tensor files of a Hugging Face folder: safetensors, in one file or in shards, and the older pickles."""

import json
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy

from batch import InputError
from interop.names import Values
from interop.pickled import read_pickled

SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
ELSEWHERE = ("*.h5", "*.ckpt*", "*.msgpack", "*.onnx", "*.gguf")
"""Files of other frameworks, which transformers can turn into safetensors."""

DAMAGE = (
    safetensors.SafetensorError,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    zlib.error,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
)
"""What the readers raise for a file that is not what its name says, or that was made to harm who reads it."""

_ENDINGS = (Path(SAFE).suffix, Path(PICKLED).suffix)

LARGEST_SHARD = 5_000_000_000  # bytes; the limit that transformers writes by


def read_tensors(folder: Path) -> dict[str, Values]:
    """Every tensor of a folder, by name. Raises InputError where there is none, or a file is damaged."""
    for name, read in ((SAFE, _read_safe), (PICKLED, read_pickled)):
        if (folder / name).is_file():
            return _checked(folder / name, read)
        if (folder / f"{name}.index.json").is_file():
            shards = _shards(folder / f"{name}.index.json")
            return {k: v for shard in shards for k, v in _checked(folder / shard, read).items()}
    other = next((path.name for pattern in ELSEWHERE for path in sorted(folder.glob(pattern))), None)
    if other:
        raise InputError(
            f"--from_hf={folder}: {other} is of another framework; load it with transformers and save_pretrained it, "
            f"which writes {SAFE}."
        )
    raise InputError(f"--from_hf={folder}: holds no {SAFE}; name the folder of a Hugging Face checkpoint.")


def _read_safe(file: Path) -> dict[str, Values]:
    return safetensors.numpy.load_file(file)


def _checked(file: Path, read: Any) -> dict[str, Values]:
    try:
        return read(file)
    except FileNotFoundError:
        raise InputError(f"--from_hf: {file} is missing, which the index names; fetch it again.") from None
    except InputError:
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise InputError(f"--from_hf: {file} is damaged or cut short ({reason}); fetch it again.") from None


def _shards(index: Path) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise InputError(f"--from_hf: {index} is damaged ({type(error).__name__}); fetch it again.") from None
    for name in names:
        if not isinstance(name, str) or not name.endswith(_ENDINGS) or name != Path(name).name:
            raise InputError(f"--from_hf: {index} names {name!r}, which is no file of this folder; do not trust it.")
    return names


def write_tensors(tensors: Mapping[str, Values], folder: Path, largest: int = LARGEST_SHARD) -> None:
    """Writes safetensors: one file, or shards of at most `largest` bytes with their index."""
    shards: list[dict[str, Values]] = [{}]
    room = largest
    for name, tensor in tensors.items():
        if tensor.nbytes > room and shards[-1]:
            shards.append({})
            room = largest
        shards[-1][name] = tensor
        room -= tensor.nbytes
    if len(shards) == 1:
        (folder / SAFE).write_bytes(_bytes_of(shards[0]))
        return
    files = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    for file, shard in zip(files, shards, strict=True):
        (folder / file).write_bytes(_bytes_of(shard))
    weight_map = {name: file for file, shard in zip(files, shards, strict=True) for name in shard}
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": weight_map}
    (folder / f"{SAFE}.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _bytes_of(tensors: Mapping[str, Values]) -> bytes:
    """A safetensors file; the metadata is what transformers looks for."""
    return safetensors.numpy.save(dict(tensors), metadata={"format": "pt"})
