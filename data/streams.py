"""Streams: row b continues row b of the previous batch, so that memory reads on (Dai et al. 2019, section 3.2)."""

import dataclasses

import numpy as np
from jaxtyping import Int

from batch import Batch, Vocab
from data.config import DataConfig
from data.rows import check_not_empty, check_one_batch, corpus_rows
from data.shards import Tokens


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """The corpus cut into `count` contiguous rows of `steps` x `stride` tokens, and who reads which, in what direction.

    With directions=both the second half of the batch reads the rows of the first half from their end (`bi_data` of the
    XLNet release).
    """

    config: DataConfig
    stride: int
    steps: int

    @property
    def count(self) -> int:
        return distinct_rows(self.config)

    @property
    def length(self) -> int:
        return self.steps * self.stride

    def start(self, batch_rows: Int[np.ndarray, " B"]) -> Int[np.ndarray, " B"]:
        """Where in the (rotated) corpus the text of each batch row begins, whatever its direction."""
        return batch_rows % self.count * self.length

    def direction(self, batch_rows: Int[np.ndarray, " B"]) -> Int[np.ndarray, " B"]:
        """+1 or -1 for each batch row."""
        return np.where(batch_rows < self.count, 1, -1).astype(np.int32)


def distinct_rows(config: DataConfig) -> int:
    """How many different rows of text a batch reads: half of the batch where each is read in both directions."""
    return config.batch_size // 2 if config.directions == "both" else config.batch_size


@dataclasses.dataclass(frozen=True, eq=False)
class Streams:
    """Training streams: windows of L tokens that advance by `stride` in each row.

    Each epoch turns the corpus, as a ring, by a random offset and cuts it anew: the rows advance over each token once,
    but for a remainder shorter than one step, other text in each epoch. A stride below L makes consecutive windows
    overlap by L - stride. `fresh` is set at the first step of an epoch only. `example` numbers the windows of an
    epoch.
    """

    config: DataConfig
    tokens: Tokens
    vocab: Vocab
    seed: int
    stride: int

    def __post_init__(self):
        check_one_batch(self.config, self.tokens, distinct_rows(self.config))

    @property
    def steps_per_epoch(self) -> int:
        return self.tokens.num_tokens // (distinct_rows(self.config) * self.stride)

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """The rows `rows` of the global batch of a step."""
        total = self.tokens.num_tokens
        epoch, within = divmod(step, self.steps_per_epoch)
        cut = Rows(self.config, self.stride, self.steps_per_epoch)
        batch_rows = np.arange(self.config.batch_size)[rows]
        offset = np.random.default_rng([self.seed, self.config.pass_of(epoch)]).integers(total)
        direction = cut.direction(batch_rows)
        first = offset + cut.start(batch_rows) + np.where(direction > 0, 0, cut.length - 1)
        read = within * self.stride + np.arange(self.config.length)
        positions = (first[:, None] + direction[:, None] * read) % total
        return _stream_batch(self, positions, batch_rows, epoch, within)


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOutStreams:
    """Every token of the corpus once (once in each direction, where there are two), in natural order, tails padded.

    A stride below L rereads the overlap, as training does.
    """

    config: DataConfig
    tokens: Tokens
    vocab: Vocab
    stride: int

    def __post_init__(self):
        check_not_empty(self.tokens)

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.tokens.num_tokens // (distinct_rows(self.config) * self.stride))

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """The rows `rows` of the global batch of a step; after the last step the first comes again."""
        within = step % self.steps_per_epoch
        cut = Rows(self.config, self.stride, self.steps_per_epoch)
        batch_rows = np.arange(self.config.batch_size)[rows]
        start = cut.start(batch_rows)
        stop = np.minimum(start + cut.length, self.tokens.num_tokens)
        direction = cut.direction(batch_rows)
        first = np.where(direction > 0, start, stop - 1)
        read = within * self.stride + np.arange(self.config.length)
        positions = first[:, None] + direction[:, None] * read
        positions[read >= (stop - start)[:, None]] = -1
        return _stream_batch(self, positions, batch_rows, epoch=0, within=within)


def _stream_batch(
    stream: Streams | HeldOutStreams,
    positions: Int[np.ndarray, "B L"],
    batch_rows: Int[np.ndarray, " B"],
    epoch: int,
    within: int,
) -> Batch:
    config, count = stream.config, len(batch_rows)
    cut = Rows(config, stream.stride, stream.steps_per_epoch)
    return Batch(
        **corpus_rows(config, stream.tokens, stream.vocab, positions),
        example=(batch_rows * cut.steps + within).astype(np.int32),
        epoch=np.full(count, epoch, np.int32),
        fresh=np.full(count, within == 0),
        summary=np.zeros(count, np.int32),
        direction=cut.direction(batch_rows) if config.directions == "both" else None,
    )
