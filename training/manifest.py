"""The manifest of a checkpoint: the digest of every file that is read, so that no damage goes unseen."""

import hashlib
from pathlib import Path

STATE = "state"
METRICS = "metrics.json"
MANIFEST = "SHA256SUMS"
"""The digests of a step's files, in the format of sha256sum: `sha256sum -c SHA256SUMS` checks a step by hand."""


class Damaged(Exception):
    """A file or folder of a step that is not as it must be; `how` it is, as "is damaged or missing"."""

    def __init__(self, file: Path, how: str):
        super().__init__(f"{file}: {how}")
        self.file, self.how = file, how


def write_manifest(folder: Path) -> None:
    """Adds the digests to the folder of a step that is complete but for them."""
    (folder / MANIFEST).write_text("".join(f"{_digest(file)}  {name}\n" for name, file in _files(folder).items()))


def damage(folder: Path) -> Path | None:
    """The first file of a step that is not as it was written, or that the manifest does not know; None if all are."""
    try:
        lines = (folder / MANIFEST).read_text(errors="replace").splitlines() if (folder / MANIFEST).is_file() else None
    except OSError:
        lines = None
    if lines is None:
        return folder / MANIFEST
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = _files(folder)
    for name in sorted(listed.keys() | there.keys()):
        if name not in listed or name not in there or not _is_whole(there[name], listed[name]):
            return folder / name
    return None if listed else folder / MANIFEST


def _files(folder: Path) -> dict[str, Path]:
    """What of a step is read, by its name in it, be it a file or something else that does not belong there."""
    found = [*folder.glob(METRICS), *sorted(file for file in (folder / STATE).rglob("*") if not file.is_dir())]
    return {file.relative_to(folder).as_posix(): file for file in found}


def _is_whole(file: Path, digest: str) -> bool:
    try:
        return file.is_file() and _digest(file) == digest  # a pipe would be waited for
    except OSError:  # of a disk that fails, too
        return False


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
