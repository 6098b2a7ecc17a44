"""Released tokenizers, used as published: WordPiece, byte-level BPE, and XLNet's sentencepiece.

What came in is kept byte for byte: the files are the tokenizer, and go out again as they are.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Integer, UInt8

from batch import InputError, Vocab
from data.pipelines import pipeline_rule
from data.rules import (
    ADDED_TOKENS,
    MERGES,
    MOST_TOKENS,
    PIPELINE,
    SPECIAL_TOKENS,
    SPIECE,
    TOKENIZER_CONFIG,
    VOCAB,
    WORDS,
    Rule,
)
from data.spiece import spiece_rule
from data.words import edges_of_bytes

FILES = (PIPELINE, WORDS, VOCAB, MERGES, SPIECE, TOKENIZER_CONFIG, SPECIAL_TOKENS, ADDED_TOKENS)
"""The files of a published tokenizer, by the names that Hugging Face folders give them."""

KIND = "released"
_LONGEST = 255  # bytes of a piece, which shards count in one byte


@dataclasses.dataclass(frozen=True, eq=False)
class ReleasedTokenizer:
    """A published vocabulary and its rule.

    `files` hold the tokenizer as published; `vocab_size` is what its model has embeddings for. Ids without a token,
    which a table padded to a round size has, are special.
    """

    files: Mapping[str, bytes]
    vocab_size: int

    def __post_init__(self):
        if not 0 < self.vocab_size <= MOST_TOKENS:
            raise InputError(f"tokenizer: vocab_size={self.vocab_size}: must be between 1 and {MOST_TOKENS}.")
        tokens = len(self._rule.pieces)
        if tokens > self.vocab_size:
            raise InputError(
                f"tokenizer: it has {tokens} tokens and the model embeddings for vocab_size={self.vocab_size}; use "
                "the tokenizer that the model was trained with."
            )

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all that the ids depend on."""
        sizes = [(name, len(self.files[name])) for name in sorted(self.files)]
        hashed = hashlib.sha256(json.dumps([KIND, self.vocab_size, sizes]).encode())
        for name, _ in sizes:
            hashed.update(self.files[name])
        return hashed.hexdigest()

    @property
    def lossless(self) -> bool:
        """Whether decoding gives exactly the text that was encoded."""
        return self._rule.lossless and int(self._lengths.max(initial=0)) <= _LONGEST

    @functools.cached_property
    def vocab(self) -> Vocab:
        """Special are the unknown token, those that a model is steered with, unused ids, and those without a token."""
        surplus = range(len(self._rule.pieces), self.vocab_size)
        return Vocab(size=self.vocab_size, special=(*self._rule.special, *surplus), **self._rule.roles)

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """The UTF-8 bytes that each id stands for, as far as it stands for text of its own."""
        return (*self._rule.pieces, *(b"" for _ in range(len(self._rule.pieces), self.vocab_size)))

    def encode(self, text: str) -> Int[np.ndarray, " T"]:
        """The ids of a text, without specials: their names in the text are ordinary text."""
        return self.encode_many([text])[0]

    def encode_many(self, texts: list[str]) -> list[Int[np.ndarray, " T"]]:
        """The ids of each text."""
        return [np.array(ids, np.int32) for ids in self._rule.encode(texts)]

    def locate(self, texts: list[str]) -> list[Int[np.ndarray, "T 2"]] | None:
        """The first character of each text that each of its tokens stands for, and the one after its last.

        None for XLNet's sentencepiece, which does not say.
        """
        if self._rule.locate is None:
            return None
        return [np.array(row, np.int64).reshape(-1, 2) for row in self._rule.locate(texts)]

    def decode(self, ids: Sequence[int] | Integer[np.ndarray, " T"]) -> str:
        """The text of the ids; specials say nothing. Not quite what was encoded, unless the tokenizer is lossless."""
        return self._rule.decode(np.asarray(ids).tolist())

    def byte_lengths(self, ids: Integer[np.ndarray, " T"]) -> UInt8[np.ndarray, " T"]:
        """UTF-8 bytes that each id stands for; all 0 where the tokenizer loses text, whose bytes nobody can assign."""
        return (self._lengths[ids] * self.lossless).astype(np.uint8)

    def word_starts(self, ids: Integer[np.ndarray, " T"]) -> Bool[np.ndarray, " T"]:
        """Where a word starts: at a space, and before and after a Chinese character, a mark, a line end or a special.

        A piece is never cut, and the pieces of one character stay together. In a vocabulary whose pieces do not hold
        the space, a word starts at each piece that does not continue one.
        """
        text = b"".join([self._rule.pieces[i] if i < len(self._rule.pieces) else b"" for i in ids.tolist()])
        if not text:
            return np.ones(len(ids), bool)
        opened, closed = edges_of_bytes(np.frombuffer(text, np.uint8).astype(np.int32))
        lengths = self._lengths[ids]
        stops = np.cumsum(lengths)
        silent = lengths == 0
        opens = silent | self._begins[ids] | opened[np.minimum(stops - lengths, len(text) - 1)]
        closes = silent | closed[stops - 1]
        opens[1:] |= closes[:-1]
        opens[:1] = True
        return opens

    def save(self, folder: Path) -> None:
        """Writes tokenizer.json, our description, and the files in a folder of their own."""
        (folder / KIND).mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / KIND / name).write_bytes(content)
        description = {"kind": KIND, "digest": self.digest, "size": self.vocab_size}
        (folder / "tokenizer.json").write_text(json.dumps(description))

    @functools.cached_property
    def _rule(self) -> Rule:
        return spiece_rule(self.files) if SPIECE in self.files else pipeline_rule(self.files)

    @functools.cached_property
    def _lengths(self) -> Int[np.ndarray, " V"]:
        return np.array([len(piece) for piece in self.pieces], np.int64)

    @functools.cached_property
    def _begins(self) -> Bool[np.ndarray, " V"]:
        """The pieces that begin a word though their text does not say so."""
        begins = np.zeros(self.vocab_size, bool)
        if self._rule.continues is not None:
            begins[:] = True
            begins[list(self._rule.continues)] = False
        return begins


def read_released(folder: Path, vocab_size: int) -> ReleasedTokenizer:
    """The tokenizer whose files `folder` holds. Raises InputError where they are missing or damaged.

    Of several descriptions of one tokenizer, spiece.model comes first: tokenizer.json cannot say XLNet's rule for a
    comma behind a digit. Then tokenizer.json, which says all of the others' rule.
    """
    try:
        files = {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
    except OSError as error:
        raise InputError(f"tokenizer {folder}: cannot be read ({error.strerror}); check its permissions.") from None
    if not files.keys() & {PIPELINE, WORDS, SPIECE} and not files.keys() >= {VOCAB, MERGES}:
        raise InputError(
            f"tokenizer {folder}: holds no tokenizer; copy its tokenizer.json, vocab.txt, spiece.model, or vocab.json "
            "and merges.txt there."
        )
    return ReleasedTokenizer(files, vocab_size)
