"""Windows: the corpus cut every L tokens, documents packed one after another, each window read on its own."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Int

from batch import Batch, Vocab
from data.config import DataConfig
from data.rows import check_not_empty, check_one_batch, corpus_rows
from data.shards import Tokens


@functools.lru_cache(maxsize=2)
def shuffled(seed: int, epoch: int, count: int) -> Int[np.ndarray, " count"]:
    """The order in which `count` examples are read in one epoch: a permutation drawn from (seed, epoch)."""
    return np.random.default_rng([seed, epoch]).permutation(np.arange(count, dtype=np.int32))


@dataclasses.dataclass(frozen=True, eq=False)
class Windows:
    """Training windows, reshuffled each epoch.

    An epoch cuts the corpus at a random offset below L, as on a ring, so that text is not always cut at the same
    places; what does not fill a batch is dropped, other text in each epoch. `example` is the index of the window.
    """

    config: DataConfig
    tokens: Tokens
    vocab: Vocab
    seed: int

    def __post_init__(self):
        check_one_batch(self.config, self.tokens, self.config.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        return self.tokens.num_tokens // (self.config.length * self.config.batch_size)

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """The rows `rows` of the global batch of a step."""
        length, size = self.config.length, self.config.batch_size
        total = self.tokens.num_tokens
        epoch, within = divmod(step, self.steps_per_epoch)
        order = shuffled(self.seed, epoch, total // length)
        window = order[within * size : (within + 1) * size][rows]
        offset = np.random.default_rng([self.seed, self.config.pass_of(epoch)]).integers(length)
        start = offset + window.astype(np.int64) * length
        positions = (start[:, None] + np.arange(length)) % total
        return _window_batch(self, positions, window, epoch)


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOutWindows:
    """Every token of the corpus exactly once, in natural order; the last window and the last batch are padded."""

    config: DataConfig
    tokens: Tokens
    vocab: Vocab

    def __post_init__(self):
        check_not_empty(self.tokens)

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.tokens.num_tokens // (self.config.length * self.config.batch_size))

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """The rows `rows` of the global batch of a step; after the last step the first comes again."""
        length, size = self.config.length, self.config.batch_size
        window = step % self.steps_per_epoch * size + np.arange(size)[rows]
        positions = window[:, None] * length + np.arange(length)
        positions[positions >= self.tokens.num_tokens] = -1
        return _window_batch(self, positions, window, epoch=0)


def _window_batch(
    stream: Windows | HeldOutWindows, positions: Int[np.ndarray, "B L"], window: Int[np.ndarray, " B"], epoch: int
) -> Batch:
    return Batch(
        **corpus_rows(stream.config, stream.tokens, stream.vocab, positions),
        example=window.astype(np.int32),
        epoch=np.full(len(window), epoch, np.int32),
        fresh=np.ones(len(window), bool),
        summary=np.zeros(len(window), np.int32),
    )
