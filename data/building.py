"""Folders that are being built: by one process at a time, gone on with after a stop, removed when abandoned."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from batch import InputError

BUILDING = ".building-"
"""Begins the names of folders that are being built."""

ABANDONED = 7 * 86_400
"""Seconds after which a folder that nobody goes on with is removed."""


@contextlib.contextmanager
def alone(folder: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Makes the folder and waits until no other process is at work on it; the lock ends with its process.

    It lies on the folder itself, so that it follows a folder that is moved to its place, and nothing is left behind.
    """
    handle = _locked(folder, report)
    try:
        yield
    finally:
        os.close(handle)


def _locked(folder: Path, report: Callable[[str], None]) -> int:
    while True:
        folder.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # moved or removed by its owner in between: begin again
            handle = os.open(folder, os.O_RDONLY)
            try:
                if not _lock(handle, wait=False):
                    report(f"another process is at work on {folder.name.removeprefix(BUILDING)}; waiting for it")
                    _lock(handle, wait=True)
                if os.path.samestat(os.fstat(handle), folder.stat()):
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)


def _lock(handle: int, *, wait: bool) -> bool:
    """Whether the lock is held now. Raises InputError where the file system has none."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        raise InputError(
            f"data.cache: its file system has no locks ({error.strerror}); name a folder on another one."
        ) from None
    return True


def remove_abandoned(cache: Path) -> None:
    """Removes what builds that were stopped left behind, where nobody has gone on with it for a week."""
    for folder in cache.glob(f"{BUILDING}*"):
        with contextlib.suppress(OSError):
            newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if time.time() - newest > ABANDONED:
                shutil.rmtree(folder)
