"""Minimal pairs: two sentences that differ in one thing, of which the first is acceptable (Warstadt et al. 2020).

A sentence stands alone in a block, [start, tokens], as a line of training text is written: with the newline that ends
it, which is scored too. So what is compared is a whole line with a whole line, and not with the beginning of one.
"""

import collections
import dataclasses
import glob
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from batch import InputError, Vocab
from data.corpus import json_lines, json_text
from data.shards import Tokens
from data.tokenizer import AnyTokenizer
from evaluation.batched import Watch, silent
from evaluation.blocks import Blocks, cut, emittable
from evaluation.checkpoints import Checkpoint
from evaluation.scores import Score, TokenScores

STEP = 8
"""Blocks are padded to multiples of so many tokens: few shapes to compile, little padding to compute."""

Ids = Int[np.ndarray, " _"]
"""The tokens of one sentence."""

Scorer = Callable[[Blocks, Watch], Score]


@dataclasses.dataclass(frozen=True)
class Pair:
    good: str
    bad: str
    paradigm: str  # BLiMP's UID
    phenomenon: str  # its linguistics_term; the paradigm where there is none
    where: str


@dataclasses.dataclass(frozen=True, eq=False)
class Items:
    """The pairs that every checkpoint can spell, and the sentences as each of them does."""

    pairs: tuple[Pair, ...]
    blocks: tuple[Blocks, ...]  # of each checkpoint: a row a sentence, all good ones, then all bad ones
    left_out: tuple[int, ...]  # pairs that each checkpoint cannot spell; all of them are left out for all

    @property
    def paradigms(self) -> list[str]:
        return [pair.paradigm for pair in self.pairs]

    @property
    def phenomena(self) -> list[str]:
        return [pair.phenomenon for pair in self.pairs]

    @property
    def even(self) -> bool:
        """Whether all paradigms have the same number of pairs, so that their mean is the mean over pairs."""
        return len(set(collections.Counter(self.paradigms).values())) == 1


def read_pairs(named: str) -> list[Pair]:
    """The pairs of a .jsonl or .jsonl.gz file, or of those in a folder or a glob. Raises InputError by line."""
    try:
        pairs = [pair for path in _files(named) for pair in _pairs_of(path)]
    except InputError as error:
        raise InputError(str(error).replace("data.corpus", "--pairs")) from None
    return pairs


def _files(named: str) -> list[Path]:
    path = Path(named).expanduser()
    if path.is_dir():
        files = [*path.rglob("*.jsonl"), *path.rglob("*.jsonl.gz")]
    else:
        files = [path] if path.is_file() else [Path(found) for found in glob.glob(str(path), recursive=True)]
    if not (files := sorted(file for file in files if file.is_file())):
        found = "the folder holds no pairs" if path.is_dir() else "no such file or folder"
        raise InputError(f"--pairs={named}: {found}; name a .jsonl or .jsonl.gz file, or a folder or a glob of them.")
    return files


def _pairs_of(path: Path) -> Iterator[Pair]:
    empty = True
    for number, record in json_lines(path):
        empty = False
        where = f"line {number} of {path}"
        yield _pair(record, where)
    if empty:
        raise InputError(f"--pairs: {path} holds no pairs; give it one object a line, or leave it out.")


def _pair(record: object, where: str) -> Pair:
    remedy = "a pair has sentence_good, sentence_bad, UID and, for BLiMP's phenomena, linguistics_term"
    text = lambda field: json_text(record, field, f"--pairs: {where}", remedy)  # noqa: E731
    good, bad, paradigm = map(text, ("sentence_good", "sentence_bad", "UID"))
    for field, sentence in (("sentence_good", good), ("sentence_bad", bad)):
        if not sentence.strip():
            raise InputError(f"--pairs: {where} has an empty {field}; write the sentence, or remove the line.")
    if good == bad:
        raise InputError(f"--pairs: {where} has the same sentence as good and as bad; correct it, or remove the line.")
    named = isinstance(record, dict) and "linguistics_term" in record
    return Pair(good, bad, paradigm, text("linguistics_term") if named else paradigm, where)


def common_items(named: str, checkpoints: Sequence[Checkpoint]) -> Items:
    """The pairs of a file that every checkpoint can spell.

    Raises InputError where none is left, or where a sentence is longer than a model's positions.
    """
    given = read_pairs(named)
    sentences = [pair.good for pair in given] + [pair.bad for pair in given]
    tokenizers = {each.tokenizer.digest: each.tokenizer for each in checkpoints}
    rows = {digest: encoded(sentences, tokenizer) for digest, tokenizer in tokenizers.items()}
    known = {digest: spelled(rows[digest], tokenizer.vocab) for digest, tokenizer in tokenizers.items()}
    kept = np.flatnonzero(np.all(list(known.values()), axis=0))
    if not len(kept):
        raise InputError(
            f"--pairs={named}: it holds no pair that the vocabularies of all checkpoints can spell; give pairs in a "
            "language that they know."
        )
    chosen = np.concatenate([kept, kept + len(given)])
    for each in checkpoints:
        _check_positions(each, given, {int(i): len(rows[each.tokenizer.digest][i]) for i in chosen})
    blocks = {
        digest: in_blocks([rows[digest][i] for i in chosen], tokenizer) for digest, tokenizer in tokenizers.items()
    }
    return Items(
        tuple(given[i] for i in kept),
        tuple(blocks[each.tokenizer.digest] for each in checkpoints),
        tuple(int((~known[each.tokenizer.digest]).sum()) for each in checkpoints),
    )


def _check_positions(checkpoint: Checkpoint, given: Sequence[Pair], lengths: Mapping[int, int]) -> None:
    positions = checkpoint.experiment.model.longest_window
    for sentence, length in lengths.items():
        if positions is not None and length >= positions:
            raise InputError(
                f"--pairs: {given[sentence % len(given)].where} has a sentence of {length} tokens, which with the "
                f"start do not fit into the {positions} positions of {checkpoint.workdir}; remove the line."
            )


def encoded(sentences: Sequence[str], tokenizer: AnyTokenizer) -> list[Ids]:
    """The ids of each sentence as a line of text; none where a tokenizer that loses text keeps nothing of it."""
    return tokenizer.encode_many([f"{sentence}\n" for sentence in sentences])


def spelled(rows: Sequence[Ids], vocab: Vocab) -> Bool[np.ndarray, " pairs"]:
    """Which pairs a vocabulary can spell: both sentences have tokens, and none of them is unknown."""
    possible = emittable(vocab)
    good, bad = np.array([len(row) > 0 and bool(possible[row].all()) for row in rows]).reshape(2, -1)
    return good & bad


def in_blocks(rows: Sequence[Ids], tokenizer: AnyTokenizer) -> Blocks:
    """Each sentence in a block of its own, as wide as the longest."""
    ids = np.concatenate(rows)
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    word_start = tokenizer.word_starts(ids)
    word_start[ends[:-1]] = True
    byte_length = tokenizer.byte_lengths(ids)
    bounds = np.cumsum([0, *byte_length], dtype=np.int64)[ends]
    counts = np.bincount(ids, minlength=tokenizer.vocab.size)
    tokens = Tokens(ids, word_start, byte_length, ends, ends, bounds, bounds, counts)
    return cut(tokens, tokenizer.vocab, 1 + int(np.diff(ends).max()))


def by_width(blocks: Blocks) -> Iterator[tuple[Int[np.ndarray, " rows"], Blocks]]:
    """The blocks in groups of similar length, each without the padding that none of it needs; which they are."""
    width = -(-blocks.real.sum(axis=1) // STEP) * STEP
    for each in np.unique(width):
        rows = np.flatnonzero(width == each)
        fields = {field.name: getattr(blocks, field.name)[rows] for field in dataclasses.fields(Blocks)}
        yield rows, Blocks(**{name: array[:, :each] if array.ndim == 2 else array for name, array in fields.items()})


def score_sentences(scorer: Scorer, blocks: Blocks, watch: Watch = silent) -> Score:
    """What a scorer gives all blocks, asked for in groups of similar length."""
    scores, rows, total, before = [], [], int(blocks.scored.sum()), 0
    for own, group in by_width(blocks):
        size = int(group.scored.sum())
        told = lambda done, of, before=before, size=size: watch(before + done * size // of, total)  # noqa: E731
        scores.append(scorer(group, told))
        rows.append(own)
        before += size
    return _together(scores, rows)


def _together(scores: Sequence[Score], rows: Sequence[Int[np.ndarray, " _"]]) -> Score:
    """One score of all blocks, in their order, from those of groups."""
    size = [len(own) for own in rows]
    block = np.concatenate([own[score.tokens.block] for score, own in zip(scores, rows, strict=True)])
    order = np.argsort(block, kind="stable")
    names = [field.name for field in dataclasses.fields(TokenScores)]
    joined = {name: np.concatenate([getattr(score.tokens, name) for score in scores])[order] for name in names}
    return dataclasses.replace(
        scores[0],
        passes=float(np.average([score.passes for score in scores], weights=size)),
        flops=float(np.average([score.flops for score in scores], weights=size)),
        tokens=TokenScores(**joined | {"block": block[order]}),
    )
