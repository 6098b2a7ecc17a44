"""XLNet's rows `inp A [SEP] B [SEP] [CLS]`: text that memory continues, then two segments (Yang et al. 2019, 2.5)."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from batch import Batch, InputError, Task, Vocab
from data.config import DataConfig
from data.pairs import fitted
from data.rows import check_one_batch, corpus_rows
from data.shards import Tokens
from data.streams import distinct_rows

UNIFORMS = 3  # random numbers a row needs: next or random B, where A ends, where B begins


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """How rows of a batch read the corpus, which is a ring: place k of a row is token `first` + `direction` k of it.

    A reversed row reads sentences from their end, so that in its own order they begin and end like any other.
    """

    tokens: Tokens
    first: Int[np.ndarray, "B 1"]
    direction: Int[np.ndarray, "B 1"]

    def positions(self, places: Int[np.ndarray, "B W"]) -> Int[np.ndarray, "B W"]:
        """The tokens of the corpus at these places."""
        return (self.first + self.direction * places) % self.tokens.num_tokens

    def sentence(self, places: Int[np.ndarray, "B W"]) -> Int[np.ndarray, "B W"]:
        """The number of the sentence that each place belongs to, from 1."""
        return np.searchsorted(self.tokens.sentences, self.positions(places), side="right")

    def to_sentence_start(self, places: Int[np.ndarray, "B W"]) -> Int[np.ndarray, "B W"]:
        """How many places before this one its sentence begins, in reading order."""
        return np.where(self.direction > 0, self._after_start(places), self._before_stop(places))

    def to_sentence_stop(self, places: Int[np.ndarray, "B W"]) -> Int[np.ndarray, "B W"]:
        """How many places after this one the next sentence begins, in reading order."""
        return 1 + np.where(self.direction > 0, self._before_stop(places), self._after_start(places))

    def _after_start(self, places: Int[np.ndarray, "B W"]) -> Int[np.ndarray, "B W"]:
        return self.positions(places) - self.tokens.sentences[self.sentence(places) - 1]

    def _before_stop(self, places: Int[np.ndarray, "B W"]) -> Int[np.ndarray, "B W"]:
        return self.tokens.sentences[self.sentence(places)] - 1 - self.positions(places)


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """A begins at place `begin` and has `a_length` tokens; B begins at place `b_begin` and has `b_length`."""

    a_length: Int[np.ndarray, "B 1"]
    b_begin: Int[np.ndarray, "B 1"]
    b_length: Int[np.ndarray, "B 1"]
    label: Int[np.ndarray, "B 1"]  # 0 = B follows A, 1 = random


def split_segments(
    reading: Reading, begin: int, budget: int, row_length: int, uniforms: Float[np.ndarray, "B U"]
) -> Split:
    """Cuts the text from place `begin` into A and B of `budget` tokens together (`_split_a_and_b` of the release).

    A ends at a sentence boundary drawn from those within the budget. B is the text from there, up to the sentence end
    that fills the budget; or, with probability one half and always where there is no boundary, whole sentences from
    anywhere in the same row. The longer one then loses tokens at its right.
    """
    window = begin + np.tile(np.arange(budget), (len(uniforms), 1))
    sentence = reading.sentence(window)
    cuts = sentence[:, 1:] != sentence[:, :-1]  # a sentence begins at distance 1, 2, ... from `begin`
    count = cuts.sum(axis=1, keepdims=True)
    stop = budget - 1 + reading.to_sentence_stop(window[:, -1:])
    coin, where_a, where_b = uniforms[:, 0:1], uniforms[:, 1:2], uniforms[:, 2:3]
    chosen = np.cumsum(cuts, axis=1) > (where_a * count).astype(np.int64)
    a_length = np.where(count > 0, 1 + np.argmax(chosen, axis=1, keepdims=True), stop)

    is_random = (coin < 0.5) | (count == 0)
    inside = np.maximum(budget - a_length, 1)
    b_first = (where_b * np.maximum(row_length - inside, 1)).astype(np.int64)
    b_random = b_first - reading.to_sentence_start(b_first)
    b_last = b_first + inside - 1
    b_stop = b_last + reading.to_sentence_stop(b_last)

    b_begin = np.where(is_random, b_random, begin + a_length)
    b_length = np.where(is_random, b_stop - b_random, stop - a_length)
    label = is_random.astype(np.int32)
    a_length, b_length = fitted(np.array([a_length, b_length]), budget)
    return Split(a_length=a_length, b_begin=b_begin, b_length=b_length, label=label)


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentRows:
    """Training rows: each starts with `stride` tokens that continue the row of the previous batch.

    The rest is A and B, for `task` and for the second half of the window; A is read again in the next step. As in
    `Streams`, each epoch turns the corpus by a random offset; the rows advance over each token once.
    """

    config: DataConfig
    tokens: Tokens
    vocab: Vocab
    seed: int
    stride: int

    def __post_init__(self):
        check_segments(self.config, self.stride)
        check_one_batch(self.config, self.tokens, distinct_rows(self.config))

    @property
    def steps_per_epoch(self) -> int:
        return self.tokens.num_tokens // (distinct_rows(self.config) * self.stride)

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """The rows `rows` of the global batch of a step."""
        epoch, within = divmod(step, self.steps_per_epoch)
        row_length = self.steps_per_epoch * self.stride
        drawn = self.seed, self.config.pass_of(epoch)
        offset = int(np.random.default_rng(drawn).integers(self.tokens.num_tokens))
        uniforms = np.random.default_rng([*drawn, within]).random((self.config.batch_size, UNIFORMS))
        batch_rows = np.arange(self.config.batch_size)[rows]
        reading = row_reading(self.config, self.tokens, batch_rows, offset, row_length)
        split = split_segments(reading, (within + 1) * self.stride, _budget(self), row_length, uniforms[rows])
        return _segment_batch(self, reading, split, batch_rows, epoch, within, real=np.ones(len(batch_rows), bool))


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOutSegmentRows:
    """Rows in natural order, the same for every seed: each token is continued over once.

    What is left at the end of a row and does not fill a window is not read. A split too small to fill every row fills
    as many as it can; the others are padding.
    """

    config: DataConfig
    tokens: Tokens
    vocab: Vocab
    stride: int

    def __post_init__(self):
        check_segments(self.config, self.stride)
        if not self.rows_filled:
            raise InputError(
                f"data.length={self.config.length}: the {self.tokens.num_tokens} tokens of this held-out split do not "
                "fill one window; raise data.validation or data.test, or give more text."
            )

    @property
    def rows_filled(self) -> int:
        return min(distinct_rows(self.config), self.tokens.num_tokens // self.config.length)

    @property
    def row_length(self) -> int:
        return self.tokens.num_tokens // self.rows_filled

    @property
    def steps_per_epoch(self) -> int:
        return (self.row_length - self.config.length) // self.stride + 1

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """The rows `rows` of the global batch of a step; after the last step the first comes again."""
        within = step % self.steps_per_epoch
        uniforms = np.random.default_rng([0, 0, within]).random((self.config.batch_size, UNIFORMS))
        batch_rows = np.arange(self.config.batch_size)[rows]
        reading = row_reading(self.config, self.tokens, batch_rows, 0, self.row_length)
        split = split_segments(reading, (within + 1) * self.stride, _budget(self), self.row_length, uniforms[rows])
        real = batch_rows % distinct_rows(self.config) < self.rows_filled
        return _segment_batch(self, reading, split, batch_rows, 0, within, real)


def _budget(stream: SegmentRows | HeldOutSegmentRows) -> int:
    """The tokens of A and B together: what the continued text and three specials leave of the window."""
    return stream.config.length - stream.stride - 3


def check_segments(config: DataConfig, stride: int) -> None:
    """Raises InputError where the window cannot hold A and B, or the task is not one of XLNet's rows."""
    if config.length - stride < 5:
        raise InputError(
            f"objective.reuse={stride}: leaves no room for two segments in data.length={config.length}; use at most "
            f"{config.length - 5}."
        )
    for field, value, only in (
        ("pair_task", config.pair_task, "next"),
        ("pair_balance", config.pair_balance, "reference"),
    ):
        if value != only:
            raise InputError(f"data.{field}={value}: data.pair_format=xlnet has data.{field}={only} only.")


def row_reading(
    config: DataConfig, tokens: Tokens, batch_rows: Int[np.ndarray, " B"], offset: int, row_length: int
) -> Reading:
    """How these rows of the batch read the corpus turned by `offset`; the second half from the end where both do."""
    count = distinct_rows(config)
    direction = np.where(batch_rows < count, 1, -1)
    first = offset + batch_rows % count * row_length + np.where(direction > 0, 0, row_length - 1)
    return Reading(tokens, first[:, None], direction[:, None])


def _segment_batch(
    stream: SegmentRows | HeldOutSegmentRows,
    reading: Reading,
    split: Split,
    batch_rows: Int[np.ndarray, " B"],
    epoch: int,
    within: int,
    real: Bool[np.ndarray, " B"],
) -> Batch:
    """The batch of a split; rows that are not `real` are padding."""
    config, vocab, count = stream.config, stream.vocab, len(batch_rows)
    column = np.arange(config.length)[None]
    a_stop = stream.stride + split.a_length  # the column of A's [SEP]
    is_sep = (column == a_stop) | (column == config.length - 2)
    is_cls = column == config.length - 1
    places = np.where(column < a_stop, within * stream.stride + column, split.b_begin + column - a_stop - 1)
    positions = np.where(is_sep | is_cls | ~real[:, None], -1, reading.positions(places))
    fields = corpus_rows(config, stream.tokens, vocab, positions)
    fields["tokens"][real[:, None] & is_sep] = vocab.sep
    fields["tokens"][real, -1] = vocab.cls
    segments = (column > a_stop).astype(np.int32) + is_cls
    return Batch(
        **fields
        | {
            "segments": np.where(real[:, None], segments, 0).astype(np.int32),
            "document": np.broadcast_to(real[:, None], segments.shape).astype(np.int32),
        },
        example=(batch_rows * stream.steps_per_epoch + within).astype(np.int32),
        epoch=np.full(count, epoch, np.int32),
        fresh=np.full(count, within == 0),
        summary=np.full(count, config.length - 1, np.int32),
        direction=reading.direction[:, 0].astype(np.int32) if config.directions == "both" else None,
        task=Task(label=np.where(real, split.label[:, 0], 0).astype(np.int32)),
    )
