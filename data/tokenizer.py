"""Text to token ids and back, exactly: sentencepiece unigram or BPE (Kudo and Richardson 2018), or raw UTF-8 bytes.

No text is normalized and every character has ids (rare ones as their bytes), so `decode(encode(text)) == text`. The
special pieces are control symbols: a literal "[MASK]" in the text is ordinary text. Sentencepiece writes a space as
U+2581, so a literal U+2581 would come back as a space; it is encoded as its three bytes.
"""

import collections
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import sentencepiece
from jaxtyping import Bool, Int, Integer, UInt8

from batch import InputError, Vocab
from data.released import KIND as RELEASED
from data.released import ReleasedTokenizer, read_released
from data.scores import with_exact_scores
from data.sentences import split_sentences
from data.words import edges_of, edges_of_bytes

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[END]")
"""The first ids, in this order; the 256 bytes follow, then the pieces that were learned."""

FIRST_BYTE, FIRST_PIECE = len(SPECIALS), len(SPECIALS) + 256
RECIPE = 2
"""Of `train_tokenizer`: another one makes another tokenizer of the same text."""

Kind = Literal["unigram", "bpe", "bytes"]

PAD, UNK, CLS, SEP, MASK, END = range(len(SPECIALS))
SPACE = "\u2581"
_FORCED = re.compile("([\u2581\n]|(?= ))")  # no piece reaches across these
_RESERVED = re.compile("[\u2581\u2585]")  # sentencepiece skips, or misreads, training text that holds these
_LONGEST = 1000  # characters read at once; sentencepiece skips training sentences above 4192 bytes
_LETTERS_SHARE = 0.75  # of the learned pieces may be single characters; rarer ones are spelled in bytes
_COVERAGE = 0.9999  # of the text's characters, at most, are pieces of their own


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
    """A vocabulary and its rule. `model` is a sentencepiece model, empty for raw bytes."""

    kind: Kind
    model: bytes = b""

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all that the ids depend on."""
        return hashlib.sha256(json.dumps([self.kind, SPECIALS]).encode() + self.model).hexdigest()

    @property
    def lossless(self) -> bool:
        """Always: whatever has no piece is spelled in bytes."""
        return True

    @functools.cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """The UTF-8 bytes that each id stands for; none for a special."""
        learned = range(FIRST_PIECE, self._model.get_piece_size()) if self.model else ()
        texts = (self._model.id_to_piece(i).replace(SPACE, " ") for i in learned)
        return (*(b"" for _ in SPECIALS), *(bytes([b]) for b in range(256)), *(text.encode() for text in texts))

    @functools.cached_property
    def scores(self) -> dict[int, float]:
        """What the rule prefers pieces by: log probabilities of a unigram model, the order of learning of BPE."""
        learned = range(FIRST_PIECE, self._model.get_piece_size()) if self.model else ()
        return {i: self._model.get_score(i) for i in learned}

    @functools.cached_property
    def vocab(self) -> Vocab:
        """Special are [PAD] [UNK] [CLS] [SEP] [MASK] and the bytes that no text is encoded to."""
        single = {piece[0] for piece in self.pieces[FIRST_PIECE:] if len(piece) == 1}
        never = {0xC0, 0xC1, *range(0xF5, 0x100), *single}  # not in UTF-8; or a piece says them
        special = (PAD, UNK, CLS, SEP, MASK, *(FIRST_BYTE + byte for byte in sorted(never)))
        return Vocab(size=len(self.pieces), special=special, pad=PAD, cls=CLS, sep=SEP, mask=MASK, end=END)

    def encode(self, text: str) -> Int[np.ndarray, " T"]:
        """The ids of a text, without specials."""
        return self.encode_many([text])[0]

    def encode_many(self, texts: list[str]) -> list[Int[np.ndarray, " T"]]:
        """The ids of each text; one call for many is several times faster than many calls."""
        if not self.model:
            return [np.frombuffer(text.encode(), np.uint8).astype(np.int32) + FIRST_BYTE for text in texts]
        ids = self._model.encode(texts, num_threads=1)
        for i, text in enumerate(texts):
            if SPACE in text or len(text) > _LONGEST:
                ids[i] = self._encode_in_parts(text)
        return [np.array(row, np.int32) for row in ids]

    def _encode_in_parts(self, text: str) -> list[int]:
        """The ids of a text with a literal U+2581, or a long one: sentencepiece adds scores up in float32, so that
        beyond a thousand pieces rounding, not the scores, would choose between two spellings of a word.
        """
        parts = _FORCED.split(text)
        rows = self._model.encode(parts[::2], num_threads=1)
        marks = ([FIRST_BYTE + byte for byte in mark.encode()] for mark in [*parts[1::2], ""])
        return [*itertools.chain.from_iterable(itertools.chain(*pair) for pair in zip(rows, marks, strict=True))]

    def decode(self, ids: Sequence[int] | Integer[np.ndarray, " T"]) -> str:
        """The text of the ids: exactly what was encoded; specials say nothing, a cut character reads U+FFFD."""
        return b"".join([self.pieces[i] for i in np.asarray(ids).tolist()]).decode("utf-8", errors="replace")

    def byte_lengths(self, ids: Integer[np.ndarray, " T"]) -> UInt8[np.ndarray, " T"]:
        """UTF-8 bytes that each id stands for; they add up to those of the text."""
        return self._lengths[ids]

    def word_starts(self, ids: Integer[np.ndarray, " T"]) -> Bool[np.ndarray, " T"]:
        """Where a word starts: at a space, and before and after a Chinese character, a mark, a line end or a special.

        A piece is never cut, so one of several Chinese characters or marks is one word; the bytes of one character
        stay together.
        """
        ids = ids.astype(np.int32)  # shards hold them unsigned
        opens, closes = self._edges[0][ids], self._edges[1][ids]
        is_byte = (ids >= FIRST_BYTE) & (ids < FIRST_PIECE)
        if is_byte.any():
            opened, closed = edges_of_bytes(np.where(is_byte, ids - FIRST_BYTE, -1))
            opens, closes = opens | opened, closes | closed
        opens[1:] |= closes[:-1]
        opens[:1] = True
        return opens

    def save(self, folder: Path) -> None:
        """Writes tokenizer.json and, unless it is raw bytes, tokenizer.model."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.model").write_bytes(self.model)
        description = {"kind": self.kind, "digest": self.digest, "size": self.vocab.size}
        (folder / "tokenizer.json").write_text(json.dumps(description))

    @functools.cached_property
    def _model(self) -> sentencepiece.SentencePieceProcessor:
        return sentencepiece.SentencePieceProcessor(model_proto=self.model)

    @functools.cached_property
    def _lengths(self) -> UInt8[np.ndarray, " V"]:
        return np.array([len(piece) for piece in self.pieces], np.uint8)

    @functools.cached_property
    def _edges(self) -> Bool[np.ndarray, "2 V"]:
        learned = [edges_of(piece.decode()) for piece in self.pieces[FIRST_PIECE:]]
        return np.array([(True, True)] * len(SPECIALS) + [(False, False)] * 256 + learned).T


AnyTokenizer = Tokenizer | ReleasedTokenizer
"""Of the same methods: one of ours, or one that came with its weights."""


def load_tokenizer(folder: Path) -> AnyTokenizer:
    """The tokenizer that `save` wrote. Raises InputError where it is missing or damaged."""
    try:
        description = json.loads((folder / "tokenizer.json").read_text())
        if description["kind"] == RELEASED:
            tokenizer = read_released(folder / RELEASED, description["size"])
        else:
            if description["kind"] not in get_args(Kind):
                raise ValueError(f"no tokenizer is of kind {description['kind']}")
            tokenizer = Tokenizer(description["kind"], (folder / "tokenizer.model").read_bytes())
        intact = tokenizer.digest == description["digest"] and tokenizer.vocab.size > 0  # which reads the model
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(f"tokenizer {folder}: it cannot be read ({error}); restore or rebuild it.") from None
    if not intact:
        raise InputError(f"tokenizer {folder}: its model does not match its digest; restore or rebuild it.")
    return tokenizer


def train_tokenizer(kind: Literal["unigram", "bpe"], vocab_size: int, texts: Iterable[str]) -> Tokenizer:
    """Learns the pieces from `texts`: the same texts in the same order give the same tokenizer.

    Raises InputError where the texts cannot fill the vocabulary, naming the largest that they can, or where
    `vocab_size` leaves no room beside the specials and the bytes.
    """
    sentences = list(_training_sentences(texts))
    if not sentences:
        raise InputError("data.tokenizer_sample: not one line of the training text fits into it; set more bytes.")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_without_rare_characters(sentences, vocab_size),
            model_writer=model,
            model_type=kind,
            vocab_size=vocab_size,
            character_coverage=1.0,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            byte_fallback=True,
            pad_id=PAD,
            pad_piece=SPECIALS[PAD],
            unk_id=UNK,
            unk_piece=SPECIALS[UNK],
            bos_id=-1,
            eos_id=-1,
            control_symbols=list(SPECIALS[CLS:]),
            num_threads=1,  # another number gives other pieces
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explained(error, vocab_size) from None
    return Tokenizer(kind, with_exact_scores(model.getvalue()) if kind == "unigram" else model.getvalue())


def _training_sentences(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for sentence in split_sentences(_RESERVED.sub(" ", text)):
            yield from (sentence[i : i + _LONGEST] for i in range(0, len(sentence), _LONGEST))


def _without_rare_characters(sentences: list[str], vocab_size: int) -> Iterator[str]:
    """The sentences cut at the characters that get no piece, so that the vocabulary can hold the others."""
    counts = collections.Counter[str]()
    for sentence in sentences:
        counts.update(sentence)
    room = int(_LETTERS_SHARE * (vocab_size - FIRST_PIECE))
    if room < 1:
        raise InputError(
            f"data.vocab_size={vocab_size}: the specials and the bytes alone take {FIRST_PIECE}; use at least "
            f"{FIRST_PIECE + 64}, or data.tokenizer=bytes."
        )
    common = counts.most_common()
    covered = np.cumsum([count for _, count in common])
    kept = min(room, 1 + int(np.searchsorted(covered, _COVERAGE * covered[-1])))
    rare = dict.fromkeys((ord(char) for char, _ in common[kept:]), "\n")
    for sentence in sentences:
        yield from filter(None, sentence.translate(rare).split("\n"))


def _explained(error: RuntimeError, vocab_size: int) -> Exception:
    """Sentencepiece's complaint as a sentence about our field; anything else is a defect and stays what it is."""
    largest = re.search(r"Vocabulary size too high .* value <= (\d+)", str(error))
    if not largest:
        return error
    return InputError(
        f"data.vocab_size={vocab_size}: the training text fills at most {largest.group(1)} pieces; set "
        f"data.vocab_size={largest.group(1)} or give more text."
    )
