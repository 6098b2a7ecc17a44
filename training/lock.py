"""One trainer for a folder: a lock that the kernel drops with the process that holds it, however it ends."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from batch import InputError
from training.workdir import unwritable

FILE = "lock"
WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
"""What a file system says that has no locks, as some shared ones do not."""


@contextlib.contextmanager
def locked(workdir: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Holds the folder for the time of the block; what cannot be locked is reported, and used all the same.

    Raises InputError where another process holds it, or where it cannot be written. The file `lock` stays, and says
    who held it last: it is the lock on it that counts. Of the processes of one run, the first holds it.
    """
    if jax.process_index():
        yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = os.open(workdir / FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise unwritable(workdir, error) from error
    try:
        _lock(file, workdir, report)
        with contextlib.suppress(OSError):  # a name less, where the disk is full
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} of {socket.gethostname()}".encode())
        yield
    finally:
        os.close(file)


def _lock(file: int, workdir: Path, report: Callable[[str], None]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(file, 200).decode(errors="replace") or "another process"
        raise InputError(
            f"--workdir={workdir}: {holder} is training in it; wait until it ends, or name another folder."
        ) from None
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        report(f"{workdir}: cannot be locked ({error.strerror}); see to it that nothing else trains in it")
