"""The one entry to batches: a configuration and a tokenized corpus become a stream of batches."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from batch import Batch, InputError, Vocab
from data.config import DataConfig
from data.pair_tables import HeldOutPairs, PairTables, SentencePairs
from data.rows import check_ids
from data.segments import HeldOutSegmentRows, SegmentRows
from data.shards import Tokens
from data.streams import HeldOutStreams, Streams
from data.windows import HeldOutWindows, Windows


@runtime_checkable
class Stream(Protocol):
    """Batches as a pure function of (seed, step): there is no iterator to save, and any step can be read first."""

    @property
    def steps_per_epoch(self) -> int:
        """How many batches one pass over the corpus makes."""
        ...

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """The rows `rows` of the global batch of a step: a process computes only its own share."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Numbered:
    """A stream of training, whose batches know at which step they are read: objectives may change on the way."""

    stream: Stream

    @property
    def steps_per_epoch(self) -> int:
        return self.stream.steps_per_epoch

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """The rows `rows` of the global batch of a step."""
        batch = self.stream.batch(step, rows)
        return dataclasses.replace(batch, step=np.full(len(batch.tokens), step, np.int32))


def digest(batch: Batch) -> bytes:
    """Of the tokens of a batch and how they belong together: equal where two runs read the same."""
    arrays = (np.ascontiguousarray(batch.tokens), np.ascontiguousarray(batch.document))
    return hashlib.blake2b(b"".join(array.tobytes() for array in arrays), digest_size=8).digest()


def open_stream(
    config: DataConfig,
    tokens: Tokens,
    vocab: Vocab,
    *,
    seed: int,
    stride: int | None = None,
    held_out: bool = False,
    folder: Path | None = None,
) -> Stream:
    """The batches of a split of the corpus, in the layout that `config` names.

    `stride` is how far a row advances in one step (data.length where None; the reuse of XLNet where the objective has
    one); layouts without memory ignore it. A held-out stream reads everything once, in natural order, independent of
    the seed, and pads its last batch with rows whose `document` is 0 everywhere. Pair tables are kept in `folder`, or
    in a temporary one.
    """
    check_ids(tokens, vocab)
    stride = config.length if stride is None else stride
    if not 1 <= stride <= config.length:
        raise InputError(f"objective.reuse={stride}: must be at least 1 and at most data.length={config.length}.")
    if config.layout == "windows":
        return HeldOutWindows(config, tokens, vocab) if held_out else Windows(config, tokens, vocab, seed)
    if config.layout == "streams":
        if held_out:
            return HeldOutStreams(config, tokens, vocab, stride)
        return Streams(config, tokens, vocab, seed, stride)
    check_pairs(config, vocab)
    if config.pair_format == "xlnet":
        if held_out:
            return HeldOutSegmentRows(config, tokens, vocab, stride)
        return SegmentRows(config, tokens, vocab, seed, stride)
    tables = PairTables(config, tokens, vocab, 0 if held_out else seed, folder)
    return (
        HeldOutPairs(config, tokens, vocab, tables) if held_out else SentencePairs(config, tokens, vocab, seed, tables)
    )


def check_pairs(config: DataConfig, vocab: Vocab) -> None:
    """Raises InputError where pairs cannot be made as configured."""
    if config.length < 5:
        raise InputError(f"data.length={config.length}: a pair and its three special tokens need at least 5.")
    if config.isolate:
        raise InputError(
            "data.isolate=True: the two segments of a pair must see each other; use data.isolate=False with "
            "data.layout=pairs."
        )
    if config.pair_format == "bert" and config.directions == "both":
        raise InputError(
            "data.directions=both: pairs of data.pair_format=bert have no reading direction; use "
            "data.directions=forward."
        )
    if vocab.cls is None or vocab.sep is None:
        raise InputError("data.layout=pairs: the tokenizer has no [CLS] or no [SEP]; use a tokenizer that has both.")
