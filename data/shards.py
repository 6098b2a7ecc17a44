"""Token shards: one split of a tokenized corpus as memory-mapped arrays, built in bounded memory."""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Bool, Int, Int64, Integer, UInt8

from batch import InputError
from data.corpus import Document
from data.sentences import split_sentences
from data.tokenizer import AnyTokenizer

FORMAT = 1
"""Of the files below; shards of another format are built anew."""

_TYPES = {
    "tokens": np.uint16,  # uint32 for a vocabulary that needs it
    "word_start": np.bool_,
    "byte_length": np.uint8,
    "sentences": np.int64,
    "documents": np.int64,
    "sentence_bytes": np.int64,
    "document_bytes": np.int64,
    "counts": np.int64,
}
_CHUNK = 1 << 19  # characters that are tokenized at once


@dataclasses.dataclass(frozen=True, eq=False)
class Tokens:
    """One split. A document is its lines, each ending with a newline, then one `end` token.

    Sentences and documents are ranges of tokens: sentence s is `tokens[sentences[s] : sentences[s + 1]]`. The newline
    belongs to the last sentence of its line, `end` to the last sentence of its document. `sentence_bytes` and
    `document_bytes` are the same boundaries in the UTF-8 text. A tokenizer without `end` has none, and text that a
    lossy one gives no token, such as a line of control characters, makes no sentence or document.
    """

    tokens: Integer[np.ndarray, " tokens"]
    word_start: Bool[np.ndarray, " tokens"]
    byte_length: UInt8[np.ndarray, " tokens"]  # UTF-8 bytes that each token stands for; all 0 if the tokenizer is lossy
    sentences: Int64[np.ndarray, " sentences_and_one"]
    documents: Int64[np.ndarray, " documents_and_one"]
    sentence_bytes: Int64[np.ndarray, " sentences_and_one"]
    document_bytes: Int64[np.ndarray, " documents_and_one"]
    counts: Int64[np.ndarray, " V"]  # occurrences of each id

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)

    @property
    def num_sentences(self) -> int:
        return len(self.sentences) - 1

    @property
    def num_documents(self) -> int:
        return len(self.documents) - 1

    @property
    def num_bytes(self) -> int:
        return int(self.document_bytes[-1])


class TokensWriter:
    """Tokenizes documents into the files of one split; holds one chunk of text at a time."""

    def __init__(self, folder: Path, tokenizer: AnyTokenizer, files: Mapping[str, IO[bytes]]):
        self._folder, self._tokenizer, self._files = folder, tokenizer, files
        self._types = _types(tokenizer.vocab.size)
        self._written = dict.fromkeys(_TYPES, 0)
        self._num_bytes = 0
        self._counts = np.zeros(tokenizer.vocab.size, np.int64)
        self._clear()

    def add(self, document: Document) -> None:
        self._document_first.append(len(self._texts))
        for line, words in zip(document.lines, document.words or [None] * len(document.lines), strict=True):
            for sentence in _sentences(line) if words is None else _worded_sentences(line, words):
                self._sentence_first.append(len(self._texts))
                self._texts.extend(sentence)
                self._is_word.extend([words is not None] * len(sentence))
            self._held += len(line) + 1
        self._ends.append(len(self._texts))
        self._texts.append("")
        self._is_word.append(True)
        if self._held >= _CHUNK:
            self._flush()

    def finish(self) -> None:
        """Writes what is held, the ends of the last ranges, and the description that makes the folder complete."""
        self._flush()
        for name in ("sentences", "documents"):
            self._write(name, np.array([self._written["tokens"]]))
            self._write(f"{name[:-1]}_bytes", np.array([self._num_bytes]))
        self._write("counts", self._counts)
        description = {"format": FORMAT, "tokenizer": self._tokenizer.digest, "vocab_size": len(self._counts)}
        for file in self._files.values():
            file.flush()
        (self._folder / "meta.json").write_text(json.dumps({**description, "lengths": self._written}))

    def append(self, tokens: Tokens) -> None:
        """Adds all documents of other shards of the same tokenizer."""
        for name in ("sentences", "documents"):
            self._write(name, self._written["tokens"] + getattr(tokens, name)[:-1])
            of_bytes = f"{name[:-1]}_bytes"
            self._write(of_bytes, self._num_bytes + getattr(tokens, of_bytes)[:-1])
        for name in ("word_start", "byte_length", "tokens"):
            self._write(name, getattr(tokens, name))
        self._counts += tokens.counts
        self._num_bytes += tokens.num_bytes

    def _clear(self) -> None:
        self._texts: list[str] = []
        self._is_word: list[bool] = []  # a text that the corpus marks as a word
        self._sentence_first: list[int] = []
        self._document_first: list[int] = []
        self._ends: list[int] = []
        self._held = 0

    def _flush(self) -> None:
        if not self._texts:
            return
        rows = self._tokenizer.encode_many(self._texts)
        end = self._tokenizer.vocab.end
        for i in self._ends:
            rows[i] = np.array([] if end is None else [end], np.int32)
        ids = np.concatenate(rows)
        starts = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        byte_starts = np.cumsum([0, *(len(text.encode()) for text in self._texts)], dtype=np.int64)
        lengths = self._tokenizer.byte_lengths(ids)
        if self._tokenizer.lossless and lengths.sum(dtype=np.int64) != byte_starts[-1]:
            raise InputError("tokenizer: its tokens do not add up to the text; check its files, or use another one.")
        for name, first in (("sentence", self._sentence_first), ("document", self._document_first)):
            first = np.array(first)[np.diff(starts[first], append=len(ids)) > 0]
            self._write(f"{name}s", self._written["tokens"] + starts[first])
            self._write(f"{name}_bytes", self._num_bytes + byte_starts[first])
        self._write("word_start", self._word_starts(ids, starts[:-1]))
        self._write("byte_length", lengths)
        self._write("tokens", ids)
        self._counts += np.bincount(ids, minlength=len(self._counts))
        self._num_bytes += int(byte_starts[-1])
        self._clear()

    def _word_starts(self, ids: Int[np.ndarray, " T"], starts: Int[np.ndarray, " texts"]) -> Bool[np.ndarray, " T"]:
        given = np.repeat(self._is_word, np.diff(starts, append=len(ids)))
        word_start = self._tokenizer.word_starts(ids) & ~given
        word_start[starts[starts < len(ids)]] = True
        return word_start

    def _write(self, name: str, values: np.ndarray) -> None:
        self._files[name].write(values.astype(self._types[name]).tobytes())
        self._written[name] += len(values)


@contextlib.contextmanager
def tokens_writer(folder: Path, tokenizer: AnyTokenizer) -> Iterator[TokensWriter]:
    """A writer of the split in `folder`, which is complete once the block ends without an error."""
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.bin").open("wb")) for name in _TYPES}
        writer = TokensWriter(folder, tokenizer, files)
        yield writer
        writer.finish()


def join_tokens(folder: Path, parts: Sequence[Path], tokenizer: AnyTokenizer) -> None:
    """Writes the shards of `parts`, one after the other, as one split into `folder`; a folder that is there goes."""
    shutil.rmtree(folder, ignore_errors=True)
    with tokens_writer(folder, tokenizer) as writer:
        for part in parts:
            writer.append(open_tokens(part))


def open_tokens(folder: Path) -> Tokens:
    """The split in `folder`, memory-mapped. Raises InputError where files are missing, cut or hold unknown ids."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        lengths, vocab_size, version = meta["lengths"], meta["vocab_size"], meta["format"]
        arrays = {
            name: _mapped(folder / f"{name}.bin", kind, lengths[name]) for name, kind in _types(vocab_size).items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"token shards {folder}: they cannot be read ({error}); delete the folder.") from None
    if version != FORMAT:
        raise InputError(f"token shards {folder}: their format is {version}, not {FORMAT}; delete the folder.")
    largest = int(arrays["tokens"].max(initial=0))
    if largest >= vocab_size:
        raise InputError(
            f"token shards {folder}: token id {largest} is not below the vocabulary size {vocab_size}; "
            "delete the folder."
        )
    return Tokens(**arrays)


def _types(vocab_size: int) -> dict[str, type]:
    return _TYPES | {"tokens": np.uint16 if vocab_size <= 1 << 16 else np.uint32}


def _mapped(path: Path, kind: type, length: int) -> np.ndarray:
    size, expected = path.stat().st_size, length * np.dtype(kind).itemsize
    if size != expected:
        raise ValueError(f"{path.name} has {size} bytes instead of {expected}")
    return np.memmap(path, kind, mode="r", shape=(length,)) if length else np.zeros(0, kind)


def _sentences(line: str) -> list[list[str]]:
    return [[sentence] for sentence in split_sentences(f"{line}\n")]


def _worded_sentences(line: str, words: Iterable[str]) -> Iterator[list[str]]:
    """The sentences of a line as lists of its words; a sentence ends with the word that its end falls in."""
    ends = np.cumsum([len(sentence) for sentence in split_sentences(line)])
    sentence, position, current = [], 0, 0
    for word in words:
        sentence.append(word)
        position += len(word)
        if position >= ends[current] and position < len(line):
            yield sentence
            sentence, current = [], int(np.searchsorted(ends, position, side="right"))
    yield [*sentence, "\n"]
