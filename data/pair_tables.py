"""Tables of sentence pairs, one per (seed, epoch), and their batches `[CLS] A [SEP] B [SEP]` (Devlin et al. 2018)."""

import dataclasses
import functools
import hashlib
import itertools
import os
import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np
from jaxtyping import Int

from batch import Batch, InputError, Task, Vocab
from data.config import DataConfig
from data.pairs import Pair, build_pairs, documents_of
from data.rows import corpus_rows
from data.shards import Tokens
from data.windows import shuffled

VERSION = 1  # of the algorithm: a table that another version wrote is not read
ROWS_AT_ONCE = 1 << 16  # pairs held in memory while a table is built


class PairTables:
    """The pairs of each epoch, in the order of the text, memory-mapped from files that are rebuilt when missing.

    Building is sequential and holds a bounded number of pairs in memory; the files of earlier epochs are deleted.
    """

    def __init__(self, config: DataConfig, tokens: Tokens, vocab: Vocab, seed: int, folder: Path | None):
        self.config, self.seed = config, seed
        self.documents = documents_of(tokens, ended=vocab.end is not None)
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="orderly-pairs-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.folder = folder
        settings = (VERSION, config.length, config.short_rate, config.pair_task, config.pair_balance, vocab.end)
        digest = hashlib.blake2b(repr(settings).encode(), digest_size=8)
        digest.update(np.ascontiguousarray(tokens.sentences).data)
        digest.update(np.ascontiguousarray(tokens.documents).data)
        self.digest = digest.hexdigest()
        self.open = functools.lru_cache(maxsize=2)(self._open)
        if config.pair_task == "next" and len(self.documents) < 2:
            raise InputError(
                f"data.pair_task=next: this split of the corpus has {len(self.documents)} document(s) with text, and a "
                "random B comes from another one; give more documents, separated by blank lines, or use "
                "data.pair_task=order."
            )

    def path(self, epoch: int) -> Path:
        """Where the table of an epoch is kept."""
        return self.folder / f"pairs-{self.digest}-{self.seed}-{epoch}.npy"

    def _open(self, epoch: int) -> Int[np.ndarray, "I 5"]:
        path = self.path(epoch)
        if not path.exists():
            self._build(epoch, path)
        if epoch > 2:  # epoch 0 is the measure of all and stays
            self.path(epoch - 2).unlink(missing_ok=True)
        return np.load(path, mmap_mode="r")

    def _build(self, epoch: int, path: Path) -> None:
        pairs = build_pairs(self.config, self.documents, np.random.default_rng([self.seed, epoch, 1]))
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as building:
            part, whole = Path(building, "part"), Path(building, "whole.npy")
            with part.open("wb") as file:
                while rows := list(itertools.islice(pairs, ROWS_AT_ONCE)):
                    np.array(rows, np.int64).tofile(file)
            written = part.stat().st_size
            np.save(whole, np.memmap(part, np.int64, "r").reshape(-1, 5) if written else np.zeros((0, 5), np.int64))
            os.replace(whole, path)  # atomic: another process finds a whole table or none


@dataclasses.dataclass(frozen=True, eq=False)
class SentencePairs:
    """Training pairs, rebuilt and reshuffled each epoch.

    The number of pairs differs a little between epochs. The first epoch's number of full batches is every epoch's:
    a longer epoch drops pairs at random, a shorter one reads some twice. `example` numbers the pairs of an epoch.
    """

    config: DataConfig
    tokens: Tokens
    vocab: Vocab
    seed: int
    tables: PairTables

    def __post_init__(self):
        count = len(self.tables.open(0))
        if count < self.config.batch_size:
            raise InputError(
                f"data.batch_size={self.config.batch_size} x data.length={self.config.length}: the corpus of "
                f"{self.tokens.num_tokens} tokens makes {count} pairs, less than a batch; give more text (documents "
                "of several sentences) or a smaller batch."
            )

    @property
    def steps_per_epoch(self) -> int:
        return len(self.tables.open(0)) // self.config.batch_size

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """The rows `rows` of the global batch of a step."""
        epoch, within = divmod(step, self.steps_per_epoch)
        table = self.tables.open(self.config.pass_of(epoch))
        order = shuffled(self.seed, epoch, len(table))
        index = within * self.config.batch_size + np.arange(self.config.batch_size)[rows]
        return _pair_batch(self, table, order[index % len(table)], epoch)


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOutPairs:
    """Every pair of one pass once, in the order of the text; the last batch ends in rows of padding."""

    config: DataConfig
    tokens: Tokens
    vocab: Vocab
    tables: PairTables

    def __post_init__(self):
        if not len(self.tables.open(0)):
            raise InputError(
                f"data.validation, data.test: the {self.tokens.num_tokens} tokens of this split make no pair; raise "
                "its share or give documents of several sentences."
            )

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.tables.open(0)) // self.config.batch_size)

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """The rows `rows` of the global batch of a step; after the last step the first comes again."""
        within = step % self.steps_per_epoch
        index = within * self.config.batch_size + np.arange(self.config.batch_size)[rows]
        return _pair_batch(self, self.tables.open(0), index, epoch=0)


def _pair_batch(
    stream: SentencePairs | HeldOutPairs, table: Int[np.ndarray, "I 5"], index: Int[np.ndarray, " B"], epoch: int
) -> Batch:
    """The pairs at `index` of the table; an index past its end makes a row of padding."""
    real = index < len(table)
    pair = Pair(*table[np.where(real, index, 0)].T[..., None])  # type: ignore[arg-type]  # each field is [B, 1]
    column = np.arange(stream.config.length)
    first_sep = 1 + pair.a_stop - pair.a_start
    last_sep = np.where(real[:, None], first_sep + 1 + pair.b_stop - pair.b_start, -1)
    inside_a = (column > 0) & (column < first_sep) & real[:, None]
    inside_b = (column > first_sep) & (column < last_sep)
    positions = np.where(inside_a, pair.a_start + column - 1, -1)
    positions = np.where(inside_b, pair.b_start + column - first_sep - 1, positions)
    fields = corpus_rows(stream.config, stream.tokens, stream.vocab, positions)
    shown = column <= last_sep
    fields["tokens"][shown & (column == 0)] = stream.vocab.cls
    fields["tokens"][shown & ((column == first_sep) | (column == last_sep))] = stream.vocab.sep
    return Batch(
        **fields | {"segments": (shown & (column > first_sep)).astype(np.int32), "document": shown.astype(np.int32)},
        example=index.astype(np.int32),
        epoch=np.full(len(index), epoch, np.int32),
        fresh=np.ones(len(index), bool),
        summary=np.zeros(len(index), np.int32),
        task=Task(label=np.where(real, np.asarray(pair.label)[:, 0], 0).astype(np.int32)),  # type: ignore[arg-type]
    )
