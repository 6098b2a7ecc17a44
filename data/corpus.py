"""Documents of a text corpus, streamed: files of UTF-8 text, here or in a store, the docstrings, or a known source."""

import contextlib
import dataclasses
import functools
import glob
import gzip
import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from batch import InputError
from data.config import DataConfig
from data.docstrings import docstrings_file, versions
from data.remote import fetched, is_remote
from data.sources import is_source, source_file

SUFFIXES = (".txt", ".md", ".jsonl", ".txt.gz", ".md.gz", ".jsonl.gz", ".gz")
"""What is read of a folder; a file or a glob may name anything, and is text unless it ends in .jsonl or .jsonl.gz."""

DIGESTS = "digests"
"""The folder of a cache that every corpus has its file in, so that a folder with one is a cache."""


@dataclasses.dataclass(frozen=True)
class Document:
    """Lines of text that belong together, each a sentence or a paragraph, without their line ends.

    `words` gives, where the corpus marks word boundaries, each line's words; they concatenate to the line.
    """

    name: str
    lines: tuple[str, ...]
    words: tuple[tuple[str, ...], ...] | None = None

    @property
    def text(self) -> str:
        """What the tokens of the document decode to: every line ends with a newline."""
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def num_bytes(self) -> int:
        """The size of the text in UTF-8."""
        return sum(len(line.encode()) + 1 for line in self.lines)


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Files in reading order. A blank line ends a document; in .jsonl every line is a document."""

    name: str
    files: tuple[Path, ...]
    text_field: str
    word_separator: str
    cache: Path
    versions: tuple[tuple[str, str], ...] = ()

    def documents(self) -> Iterator[Document]:
        """Streams the documents; holds one at a time. Raises InputError on text that cannot be read."""
        for path in self.files:
            pieces = _json_texts(path, self.text_field) if _is_json(path) else _text_blocks(path)
            for number, lines in enumerate(pieces):
                name = f"{path.name}:{number}"
                yield self._segmented(name, lines) if self.word_separator else Document(name, tuple(lines))

    def _segmented(self, name: str, lines: list[str]) -> Document:
        words = tuple(tuple(filter(None, line.split(self.word_separator))) for line in lines)
        return Document(name, tuple("".join(line) for line in words), words)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of what is read: the files' bytes in order and how they are taken apart; paths do not matter.

        Files whose path, size and times are as at the last hashing are not read again.
        """
        known = self.cache / DIGESTS / hashlib.sha256(self.fingerprint.encode()).hexdigest()[:32]
        if known.exists() and len(stored := known.read_text()) == 64:
            return stored
        total = hashlib.sha256(json.dumps([self.text_field, self.word_separator]).encode())
        for path in self.files:
            with _readable(path), path.open("rb") as file:
                total.update(f"{_is_json(path)}".encode() + hashlib.file_digest(file, "sha256").digest())
        known.parent.mkdir(parents=True, exist_ok=True)
        temporary = known.with_name(f".{known.name}-{os.getpid()}")
        temporary.write_text(total.hexdigest())
        os.replace(temporary, known)
        return total.hexdigest()

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes, as far as the file system tells, when a file does; cheap."""
        stats = [(str(path.resolve()), path.stat()) for path in self.files]
        seen = [(name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for name, stat in stats]
        return json.dumps([self.text_field, self.word_separator, seen])

    def describe(self) -> str:
        """One line: name, package versions of the embedded corpus, files, bytes and digest."""
        size = sum(path.stat().st_size for path in self.files)
        made_of = "; ".join(f"{name} {version}" for name, version in self.versions)
        return (
            f"{self.name}{f' ({made_of})' if made_of else ''}: {len(self.files)} file{'s' * (len(self.files) != 1)}, "
            f"{size:,} bytes, sha256 {self.digest[:16]}"
        )


def open_corpus(config: DataConfig, report: Callable[[str], None] = lambda line: None) -> Corpus:
    """The corpus that `config.corpus` names; `report` is told of what takes long, which is fetching it from a store.

    Raises InputError where there is nothing to read.
    """
    cache = Path(config.cache).expanduser()
    if config.corpus == "docstrings":
        files, made_of = (docstrings_file(cache),), tuple(versions().items())
    elif is_source(config.corpus):
        files, made_of = (source_file(config.corpus, cache),), ()
    elif is_remote(config.corpus):
        files, made_of = fetched(config.corpus, SUFFIXES, cache, report), ()
    else:
        files, made_of = _files(config.corpus), ()
    corpus = Corpus(config.corpus, files, config.text_field, config.word_separator, cache, made_of)
    if next(corpus.documents(), None) is None:
        raise InputError(f"data.corpus={config.corpus}: it holds no text; name a corpus with at least one line.")
    return corpus


def _files(corpus: str) -> tuple[Path, ...]:
    path = Path(os.path.expanduser(corpus))
    if os.path.isfile(path):  # which takes any text for a path, as path.is_file() does not
        return (path,)
    if os.path.isdir(path):
        inside = (found for found in path.rglob("*") if found.name.endswith(SUFFIXES) and found.is_file())
        files = sorted(found for found in inside if not _is_hidden(found.relative_to(path)))
        if not files:
            raise InputError(f"data.corpus={corpus}: the folder holds no text; it needs {' '.join(SUFFIXES)} files.")
        return tuple(files)
    if not glob.has_magic(corpus):
        raise InputError(
            f"data.corpus={corpus}: no such file or folder; name one, a glob, docstrings, or a source as in "
            "markov:symbols=16."
        )
    files = sorted(Path(found) for found in glob.glob(str(path), recursive=True))
    files = [found for found in files if found.is_file()]
    if not files:
        raise InputError(f"data.corpus={corpus}: no file matches; quote the glob, or name a folder.")
    return tuple(files)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_json(path: Path) -> bool:
    return path.name.endswith((".jsonl", ".jsonl.gz"))


def _text_blocks(path: Path) -> Iterator[list[str]]:
    block: list[str] = []
    for line in _lines(path):
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []
    if block:
        yield block


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """The numbers of the lines of a .jsonl or .jsonl.gz file, and what they hold."""
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:  # too many digits, or too deep, are no errors of JSON
            where, reason = f"line {number} of {path}", str(error).partition(";")[0]
            if isinstance(error, json.JSONDecodeError):
                reason = f"{error.msg} at column {error.colno}"
            raise InputError(
                f"data.corpus: {where} is not JSON ({reason}); every line of a .jsonl file is one object."
            ) from None
        yield number, record


def json_text(record: Any, field: str, where: str, remedy: str) -> str:
    """The text in a field of a record that stands at `where`. Raises InputError where there is none."""
    if not isinstance(record, dict) or field not in record:
        names = ", ".join(record) if isinstance(record, dict) else type(record).__name__
        raise InputError(f"{where} has no field {field!r} (it has {names}); {remedy}.")
    text = record[field]
    if not isinstance(text, str):
        raise InputError(f"{where} holds {type(text).__name__} in {field!r}, not text; {remedy}.")
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise InputError(f"{where} holds a NUL or half of a surrogate pair in {field!r}; remove it.")
    return text


def _json_texts(path: Path, field: str) -> Iterator[list[str]]:
    for number, record in json_lines(path):
        text = json_text(record, field, f"data.corpus: line {number} of {path}", "set data.text_field")
        if lines := [part for part in text.replace("\r\n", "\n").split("\n") if part.strip()]:
            yield lines


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file without their ends and without a byte order mark. Raises InputError with the byte offset."""
    offset = 0
    with _readable(path), _open(path) as file:
        for raw in file:
            yield _decoded(raw, path, offset)
            offset += len(raw)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Says what is wrong with a file that cannot be read."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"data.corpus: {path} is a damaged gzip file ({error}); fetch or write it again.") from None
    except OSError as error:
        raise InputError(f"data.corpus: {path} cannot be read ({error.strerror}); check its permissions.") from None


def _open(path: Path) -> io.BufferedIOBase:
    return gzip.open(path) if path.name.endswith(".gz") else path.open("rb")


def _decoded(raw: bytes, path: Path, offset: int) -> str:
    if (nul := raw.find(b"\0")) >= 0:
        raise InputError(f"data.corpus: {path} is binary (a NUL at byte {offset + nul}); give UTF-8 text.")
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        byte, at = raw[error.start], offset + error.start
        raise InputError(f"data.corpus: {path} is not UTF-8 (0x{byte:02x} at byte {at}); convert it.") from None
    line = line.removesuffix("\n").removesuffix("\r")
    return line.removeprefix("\ufeff") if offset == 0 else line
