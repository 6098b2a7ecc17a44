"""The manifest of a checkpoint: the digest of every file that is read, so that no damage goes unseen."""

import hashlib
from pathlib import Path

STATE = "state"
METRICS = "metrics.json"
MANIFEST = "SHA256SUMS"
"""The digests of a step's files, in the format of sha256sum: `sha256sum -c SHA256SUMS` checks a step by hand."""


def write_manifest(folder: Path) -> None:
    """Adds the digests to the folder of a step that is complete but for them."""
    (folder / MANIFEST).write_text("".join(f"{_digest(file)}  {name}\n" for name, file in _files(folder).items()))


def damage(folder: Path) -> Path | None:
    """The first file of a step that is not as it was written, or that the manifest does not know; None if all are."""
    try:
        lines = (folder / MANIFEST).read_text(errors="replace").splitlines()
    except OSError:
        return folder / MANIFEST
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = _files(folder)
    for name in sorted(listed.keys() | there.keys()):
        if name not in listed or name not in there or not _is_whole(there[name], listed[name]):
            return folder / name
    return None if listed else folder / MANIFEST


def _files(folder: Path) -> dict[str, Path]:
    """The files of a step that are read, by their names in it."""
    found = [*folder.glob(METRICS), *sorted(file for file in (folder / STATE).rglob("*") if file.is_file())]
    return {file.relative_to(folder).as_posix(): file for file in found}


def _is_whole(file: Path, digest: str) -> bool:
    try:
        return _digest(file) == digest
    except OSError:  # of a disk that fails, too
        return False


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
