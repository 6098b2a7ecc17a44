"""The data report: what a run is about to read, measured before it trains, and where that would mislead."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int, UInt64

from batch import Batch, Vocab
from data.batches import Stream
from data.config import DataConfig
from data.shards import Tokens

SAMPLED_ROWS = 4096
"""Rows of the first epoch that fill and labels are measured on."""

SAMPLED_TOKENS = 1 << 25
"""Duplicates are counted among the sentences of this many first tokens: 2^25 tokens hold some 10 MB of hashes."""

_CHUNK = 1 << 20  # tokens hashed at once
_BYTE_PIECES = 256  # of a tokenizer with byte fallback: in clean text most of them never occur
_MOST_UNUSED = 0.05
_LEAST_FILL = 0.8
_MOST_DUPLICATES = 0.05
_RANDOM_SHARE = (0.45, 0.60)
_MOST_EPOCHS = 40  # BERT's own (Devlin et al. 2018, appendix A.2)


@dataclasses.dataclass(frozen=True)
class SplitSize:
    tokens: int
    documents: int
    sentences: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class DataReport:
    """Measures of the data of one run. Shares and rates lie between 0 and 1."""

    splits: dict[str, SplitSize]
    batch_size: int
    length: int
    fill: float  # share of a row that is not padding
    unigram_entropy: float  # nats per token: the loss of the best prediction that ignores the context
    unused_ids: int  # ordinary token ids that never occur in the training text
    duplicate_rate: float  # share of sentences that repeat an earlier one
    duplicates_among: int  # sentences looked at
    label_share: float | None  # pairs: share of label 1, random B or swapped
    label_name: str | None
    steps_per_epoch: int
    epochs: float  # that the run will make
    corruption: dict[str, float] | None  # what the objective measured of itself
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return dataclasses.asdict(self)

    def lines(self) -> Iterator[str]:
        """The report for people; the warnings come last."""
        for name, size in self.splits.items():
            yield (
                f"{name:<10} {size.tokens:>13,} tokens, {size.documents:,} documents, {size.sentences:,} sentences, "
                f"{size.bytes:,} bytes, {size.bytes / max(size.tokens, 1):.2f} bytes a token"
            )
        yield f"{'batches':<10} {self.batch_size} rows of {self.length} tokens, {self.fill:.1%} filled"
        yield f"{'epochs':<10} {self.epochs:.2f} in this run, {self.steps_per_epoch:,} steps each"
        yield f"{'unigram':<10} {self.unigram_entropy:.3f} nats a token without any context"
        yield f"{'duplicates':<10} {self.duplicate_rate:.2%} of {self.duplicates_among:,} sentences repeat another"
        if self.label_share is not None:
            majority = max(self.label_share, 1 - self.label_share)
            yield (
                f"{'labels':<10} {self.label_share:.1%} {self.label_name}; "
                f"always answering the more frequent label is right {majority:.1%} of the time"
            )
        if self.corruption is not None:
            yield f"{'objective':<10} " + ", ".join(f"{name} {value:.4g}" for name, value in self.corruption.items())
        for warning in self.warnings:
            yield f"warning: {warning}"

    def __str__(self) -> str:
        return "\n".join(self.lines())


def describe_data(
    config: DataConfig,
    splits: Mapping[str, Tokens],
    stream: Stream,
    vocab: Vocab,
    *,
    total_steps: int,
    corruption: dict[str, float] | None = None,
) -> DataReport:
    """Measures the splits ("train", "validation", ...) and the training stream of a run of `total_steps`.

    `corruption` is what the objective measured on its side, name and value, such as the shares of tokens masked,
    replaced and kept, and of rows without targets.
    """
    train = splits["train"]
    rate, among = duplicate_rate(train, vocab)
    fill, label_share = _measured(stream, config.batch_size)
    report = DataReport(
        splits={
            name: SplitSize(split.num_tokens, split.num_documents, split.num_sentences, split.num_bytes)
            for name, split in splits.items()
        },
        batch_size=config.batch_size,
        length=config.length,
        fill=fill,
        unigram_entropy=entropy(train.counts),
        unused_ids=len(np.setdiff1d(vocab.ordinary, np.flatnonzero(train.counts))),
        duplicate_rate=rate,
        duplicates_among=among,
        label_share=label_share,
        label_name=None if label_share is None else "swapped" if config.pair_task == "order" else "random B",
        steps_per_epoch=stream.steps_per_epoch,
        epochs=total_steps / stream.steps_per_epoch,
        corruption=corruption,
        warnings=(),
    )
    return dataclasses.replace(report, warnings=tuple(_warnings(config, vocab, report)))


def entropy(counts: Int[np.ndarray, " V"]) -> float:
    """The entropy in nats of the distribution that `counts` are drawn from, estimated by their frequencies."""
    frequency = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(frequency * np.log(frequency)).sum())


def duplicate_rate(tokens: Tokens, vocab: Vocab) -> tuple[float, int]:
    """The share of sentences that repeat an earlier one, and how many sentences were looked at, from the first on."""
    hashes = np.concatenate([np.zeros(0, np.uint64), *_sentence_hashes(tokens, vocab)])
    return (1 - len(np.unique(hashes)) / len(hashes) if len(hashes) else 0.0), len(hashes)


def _sentence_hashes(tokens: Tokens, vocab: Vocab) -> Iterator[UInt64[np.ndarray, " sentences"]]:
    """A hash of each sentence with text, some at a time; the `end` of a document is no part of it."""
    bounds, first = tokens.sentences, 0
    last = int(np.searchsorted(bounds, min(SAMPLED_TOKENS, tokens.num_tokens), side="right")) - 1
    while first < last:
        stop = int(np.searchsorted(bounds, bounds[first] + _CHUNK, side="right")) - 1
        stop = min(max(stop, first + 1), last)
        ids = tokens.tokens[bounds[first] : bounds[stop]].astype(np.uint64)
        starts = bounds[first:stop] - bounds[first]
        place = np.arange(len(ids)) - np.repeat(starts, np.diff(bounds[first : stop + 1]))
        mixed = _mix(ids + np.uint64(1) + _mix(place.astype(np.uint64)))
        if vocab.end is not None:
            mixed[ids == vocab.end] = 0
        hashes = np.add.reduceat(mixed, starts)
        yield hashes[hashes != 0]
        first = stop


def _mix(x: UInt64[np.ndarray, " T"]) -> UInt64[np.ndarray, " T"]:
    """The output function of SplitMix64 (Steele, Lea and Flood 2014): every bit of x moves every bit of the result."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _measured(stream: Stream, batch_size: int) -> tuple[float, float | None]:
    """Fill and the share of label 1, over batches taken evenly from the first epoch."""
    count = min(stream.steps_per_epoch, -(-SAMPLED_ROWS // batch_size))
    steps = np.linspace(0, stream.steps_per_epoch - 1, count).astype(int)
    batches = [stream.batch(int(step)) for step in steps]
    fill = float(np.mean([np.mean(batch.document > 0) for batch in batches]))
    labels = [_labels(batch) for batch in batches if batch.task is not None]
    return fill, float(np.concatenate(labels).mean()) if labels else None


def _labels(batch: Batch) -> Int[np.ndarray, " rows"]:
    assert batch.task is not None
    return np.asarray(batch.task.label)[np.asarray(batch.document).any(axis=1)]


def _warnings(config: DataConfig, vocab: Vocab, report: DataReport) -> Iterator[str]:
    """A sentence for each way in which the measures would mislead the reader of a loss."""
    low, high = _RANDOM_SHARE
    if report.label_name == "random B" and report.label_share is not None and not low <= report.label_share <= high:
        yield (
            f"{report.label_share:.0%} of the pairs have a random B, so that next-sentence accuracy is to be compared "
            f"with {max(report.label_share, 1 - report.label_share):.0%}; data.pair_balance=balanced makes it one half."
        )
    if report.fill < _LEAST_FILL:
        yield (
            f"only {report.fill:.0%} of the batches is text and the rest padding; lower data.length={config.length} "
            "or use data.layout=windows."
        )
    if report.duplicate_rate > _MOST_DUPLICATES:
        yield (
            f"{report.duplicate_rate:.0%} of the sentences repeat an earlier one, which lowers every loss; "
            "remove boilerplate from the corpus."
        )
    if config.tokenizer in ("unigram", "bpe") and report.unused_ids > _BYTE_PIECES + _MOST_UNUSED * vocab.size:
        yield (
            f"{report.unused_ids:,} of {vocab.size:,} token ids never occur in the training text and will not be "
            "learned; lower data.vocab_size or give more text."
        )
    if report.epochs > _MOST_EPOCHS:
        yield (
            f"the run reads the training text {report.epochs:.0f} times and may learn it by heart; give more text or "
            "lower optimizer.total_steps."
        )
    held_out = report.splits.get("validation")
    if held_out is not None and held_out.tokens < config.batch_size * config.length:
        yield (
            f"the validation text of {held_out.tokens:,} tokens is less than one batch, so that the held-out loss is "
            "noisy; raise data.validation."
        )
