"""The lines of a file of a task, with their numbers."""

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from batch import InputError

MARK = "\ufeff"  # the byte order mark, with which some editors begin a file


def at(path: Path, line: int) -> str:
    """How every refusal says where it stands."""
    return f"line {line} of {path}"


def kind(path: Path) -> str:
    """The suffix that tells the format: `.gz` is looked through."""
    return Path(path.name.removesuffix(".gz")).suffix


def lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""The numbers of the lines, from 1 on, and what they hold, without the \n or \r\n that ends them.

    Only these end a line: what `str.splitlines` would also cut at (U+2028, \x85, \x0b, a lone \r) is text, which
    annotators have pasted. Raises InputError for a file that is not there, is damaged, is not UTF-8 or holds a NUL.
    """
    for number, line in with_ends(path):
        yield number, line.removesuffix("\n").removesuffix("\r")


def with_ends(path: Path) -> Iterator[tuple[int, str]]:
    """As `lines`, with what ends each: quoted cells of CSV go over several lines."""
    offset = 0
    with _readable(path), gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            yield number, _decoded(raw, path, number, offset)
            offset += len(raw)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; correct the name, or fetch the data set.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is a damaged gzip file ({error}); fetch or write it again.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); name a file that can be.") from None


def _decoded(raw: bytes, path: Path, number: int, offset: int) -> str:
    if (nul := raw.find(b"\0")) >= 0:
        raise InputError(f"{at(path, number)} holds a NUL (at byte {offset + nul}); give UTF-8 text.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"0x{raw[error.start]:02x} at byte {offset + error.start}"
        raise InputError(f"{at(path, number)} is not UTF-8 ({byte}); convert the file.") from None
    return text.removeprefix(MARK) if number == 1 else text
