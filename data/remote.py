"""Corpora that lie elsewhere, as in s3://bucket/folder/*.txt: copied into the cache once, and read from there.

A corpus is read four times until its tokens are made, and hashed before: streaming it would fetch it as often. Listing
is done at every start, so that a corpus that has changed is another one, as far as its store tells.
"""

import contextlib
import errno
import glob
import hashlib
import importlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from batch import InputError
from data.building import alone

CONNECT, READ = 30, 60
"""Seconds until a server that does not answer, or that falls silent, is given up."""

STAMPS = ("size", "ETag", "etag", "generation", "Content-MD5", "Last-Modified", "LastModified", "mtime", "created")
"""What stores tell of a file that changes when the file does; each tells some of it."""

WEB = ("http://", "https://")
"""These name one file; what would be marks of a glob are marks of a query."""


class Remote(NamedTuple):
    """A file of a store."""

    path: str  # as its store calls it
    size: int | None  # in bytes, where that is told
    stamps: str

    @property
    def name(self) -> str:
        """The last part of its path, under which its copy is kept."""
        last = PurePosixPath(urlsplit(self.path).path if self.path.startswith(WEB) else self.path).name
        return last if last.strip(".") else "text"


def is_remote(path: str) -> bool:
    """Whether a path names a place on another machine, as gs://bucket/file does."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path) is not None


def check_local(field: str, path: str) -> None:
    """Raises InputError where a folder that is written is to lie in an object store, which cannot lock or append."""
    if is_remote(path):
        raise InputError(
            f"{field}={path}: must be a folder of a file system, where files are locked, appended to and renamed; "
            "mount the store, with gcsfuse or the like, or name a local folder and copy."
        )


def fetched(corpus: str, suffixes: tuple[str, ...], cache: Path, report: Callable[[str], None]) -> tuple[Path, ...]:
    """The copies, under `cache`, of the files that `corpus` names, in the order in which local ones are read.

    A corpus is a file, a folder, of which files with one of the suffixes are taken, or a glob. Raises InputError where
    nothing is found, what reads the store is not installed, or it cannot be reached.
    """
    with _reading(corpus):
        system, path = _opened(corpus)
        files = _listed(system, path, corpus, suffixes)
    if not files:
        raise InputError(
            f"data.corpus={corpus}: nothing there is text; it needs a file, a glob that matches, or a folder of"
            f" {' '.join(suffixes)} files."
        )
    key = hashlib.sha256(json.dumps([corpus, files]).encode()).hexdigest()[:16]
    folder = cache / "remote" / key
    copies = {folder / f"{number:05}" / file.name: file for number, file in enumerate(files)}
    if not all(copy.exists() for copy in copies):
        with _writing(cache):
            folder.parent.mkdir(parents=True, exist_ok=True)
        with alone(folder, report):
            size = sum(file.size or 0 for file in files)
            report(f"fetching {corpus} into {folder}: {len(files)} file{'s' * (len(files) != 1)}, {size:,} bytes")
            for copy, file in copies.items():
                if not copy.exists():
                    _fetch(system, file, copy, corpus, cache)
    return tuple(copies)


def _opened(corpus: str) -> tuple[Any, str]:
    """The store, and the path in it. A store finds its credentials itself: in the environment and in its own files."""
    fsspec = importlib.import_module("fsspec")
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it shows the traceback of what it raises, too
    return fsspec.url_to_fs(corpus, **_patience(corpus))


def _patience(corpus: str) -> dict[str, Any]:
    """What a store must be told so that it does not wait for ever."""
    if corpus.startswith(WEB):
        timeout = importlib.import_module("aiohttp").ClientTimeout(total=None, sock_connect=CONNECT, sock_read=READ)
        as_stored = {"headers": {"Accept-Encoding": "identity"}, "auto_decompress": False}
        return {"client_kwargs": {"timeout": timeout, **as_stored}}
    if corpus.startswith("s3://"):
        return {"config_kwargs": {"connect_timeout": CONNECT, "read_timeout": READ}}
    return {"timeout": READ} if corpus.startswith("gs://") else {}


def _listed(system: Any, path: str, corpus: str, suffixes: tuple[str, ...]) -> list[Remote]:
    """The files that a path names; none where there is nothing."""
    if not corpus.startswith(WEB) and glob.has_magic(path):
        root = path[: re.search(r"[*?[]", path).start()].rpartition("/")[0]  # type: ignore[union-attr]  # it has one
        found = _visible(system.glob(path, detail=True), root)
    else:
        info = system.info(path)
        if info["type"] == "file":
            return [_remote(path, info)]
        inside = _visible(system.find(path, detail=True), path)
        found = {name: info for name, info in inside.items() if name.endswith(suffixes)}
    return [_remote(name, found[name]) for name in sorted(found, key=PurePosixPath) if found[name]["type"] == "file"]


def _visible(found: dict[str, dict[str, Any]], root: str) -> dict[str, dict[str, Any]]:
    return {name: info for name, info in found.items() if "/." not in name[len(root.rstrip("/")) :]}


def _remote(path: str, info: dict[str, Any]) -> Remote:
    return Remote(path, info.get("size"), json.dumps({name: str(info[name]) for name in STAMPS if name in info}))


def _fetch(system: Any, file: Remote, copy: Path, corpus: str, cache: Path) -> None:
    """Makes the copy, which is there as a whole or not at all."""
    begun = copy.with_name(".begun")
    with _writing(cache):
        copy.parent.mkdir(exist_ok=True)
    with _reading(corpus), _writing(cache, only=(errno.ENOSPC, errno.EDQUOT, errno.EFBIG)):
        system.get_file(file.path, str(begun))
    if file.size not in (None, received := begun.stat().st_size):
        raise InputError(
            f"data.corpus={corpus}: {file.name} arrived with {received:,} of {file.size:,} bytes; run the same "
            "command again."
        )
    os.replace(begun, copy)


@contextlib.contextmanager
def _writing(cache: Path, only: tuple[int, ...] = ()) -> Iterator[None]:
    """Says that the cache is what fails, on any error or on `only` these."""
    try:
        yield
    except OSError as error:
        if only and error.errno not in only:
            raise
        raise InputError(
            f"data.cache={cache}: the corpus could not be copied there ({error.strerror}); mend that, and the same "
            "command goes on."
        ) from None


@contextlib.contextmanager
def _reading(corpus: str) -> Iterator[None]:
    """Says what is wrong with a store that cannot be read; their packages raise what they like."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            f"data.corpus={corpus}: a package that reads it is missing ({_line(error)}); pip install -e '.[remote]'."
        ) from None
    except Exception as error:
        reason = error.__cause__ or error  # of HTTP, all errors are of a file that is not found
        if isinstance(reason, FileNotFoundError):
            raise InputError(f"data.corpus={corpus}: no such file or folder; check its name.") from None
        said = f"{type(reason).__name__}: {_line(reason)}" if str(reason) else type(reason).__name__
        raise InputError(
            f"data.corpus={corpus}: cannot be fetched ({said}); check the name, your credentials and the network."
        ) from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
