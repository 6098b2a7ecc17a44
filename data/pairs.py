"""Pairs of segments for next-sentence prediction and sentence order (Devlin et al. 2018, A.2; Lan et al. 2019, 3.1)."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from data.config import DataConfig
from data.shards import Tokens


class Pair(NamedTuple):
    """The text of A and of B as token ranges of the corpus, and the label of `Task`."""

    a_start: int
    a_stop: int
    b_start: int
    b_stop: int
    label: int


class Chunk(NamedTuple):
    """Consecutive sentences of one document, `begin` to `stop`, both indices into `Tokens.sentences`."""

    document: int
    begin: int
    stop: int


@dataclasses.dataclass(frozen=True, eq=False)
class Documents:
    """The documents that have text, as ranges of sentences; the `end` token of a document is no part of its text."""

    sentences: Int[np.ndarray, " S"]
    first: Int[np.ndarray, " D"]  # the sentences of document d are first[d] to last[d]
    last: Int[np.ndarray, " D"]
    text_stop: Int[np.ndarray, " D"]  # the token after its text

    def __len__(self) -> int:
        return len(self.first)

    def span(self, document: int, begin: int, stop: int) -> tuple[int, int]:
        """The token range of the sentences `begin` to `stop` of a document."""
        return int(self.sentences[begin]), min(int(self.sentences[stop]), int(self.text_stop[document]))

    def gather(self, document: int, begin: int, target: int) -> int:
        """The sentence to stop before, so that `begin` and those after it hold at least `target` tokens, if they can.

        There is always at least one sentence.
        """
        bounds = self.sentences[begin : int(self.last[document]) + 1]
        enough = int(np.searchsorted(bounds, bounds[0] + target))
        return begin + min(max(enough, 1), len(bounds) - 1)


def documents_of(tokens: Tokens, ended: bool) -> Documents:
    """The documents of a corpus that have text; `ended` says that the last token of each document is an `end`."""
    first = np.searchsorted(tokens.sentences, tokens.documents[:-1])
    last = np.searchsorted(tokens.sentences, tokens.documents[1:])
    text_stop = np.asarray(tokens.documents[1:]) - int(ended)
    last = last - (tokens.sentences[np.maximum(last - 1, 0)] >= text_stop)  # a sentence of `end` alone
    kept = last > first
    return Documents(np.asarray(tokens.sentences), first[kept], last[kept], text_stop[kept])


def build_pairs(config: DataConfig, documents: Documents, rng: np.random.Generator) -> Iterator[Pair]:
    """One pass over the corpus, as `create_instances_from_document` of the BERT release does it.

    Sentences are gathered up to a target length, which is drawn once per document: data.length less three specials, or
    with probability `short_rate` uniform from 2. Each gathered chunk makes one pair. A chunk of one sentence cannot be
    split: the reference gives it a random B, which skews the labels; otherwise it takes in the next sentence, and the
    last sentence of a document is dropped where it is left alone.
    """
    budget = config.length - 3
    split = _order_pair if config.pair_task == "order" else _next_pair
    keep_single = config.pair_task == "next" and config.pair_balance == "reference"
    for document in range(len(documents)):
        short = rng.random() < config.short_rate
        target = int(rng.integers(2, budget + 1)) if short else budget
        begin, last = int(documents.first[document]), int(documents.last[document])
        while begin < last:
            stop = documents.gather(document, begin, target)
            if stop - begin == 1 and not keep_single:
                if stop == last:
                    break
                stop += 1
            pair, begin = split(documents, Chunk(document, begin, stop), target, rng)
            yield _truncate(pair, budget, rng)


def _next_pair(documents: Documents, chunk: Chunk, target: int, rng: np.random.Generator) -> tuple[Pair, int]:
    """A pair of label 0 (B is the rest of the chunk) or 1 (random B), and the sentence where the next chunk begins.

    What a random B leaves unused of the chunk is put back.
    """
    document, begin, stop = chunk
    cut = begin + (1 if stop - begin == 1 else int(rng.integers(1, stop - begin)))
    a = documents.span(document, begin, cut)
    if stop - begin > 1 and rng.random() >= 0.5:
        return Pair(*a, *documents.span(document, cut, stop), label=0), stop
    other = int(rng.integers(len(documents) - 1))
    other += other >= document  # every document but this one
    first = int(rng.integers(documents.first[other], documents.last[other]))
    last = documents.gather(other, first, target - (a[1] - a[0]))
    return Pair(*a, *documents.span(other, first, last), label=1), cut


def _order_pair(documents: Documents, chunk: Chunk, target: int, rng: np.random.Generator) -> tuple[Pair, int]:
    """A pair of label 0 (as written) or 1 (A and B swapped), and the sentence where the next chunk begins."""
    document, begin, stop = chunk
    cut = begin + int(rng.integers(1, stop - begin))
    a, b = documents.span(document, begin, cut), documents.span(document, cut, stop)
    if rng.random() < 0.5:
        return Pair(*b, *a, label=1), stop
    return Pair(*a, *b, label=0), stop


def fitted(lengths: Int[np.ndarray, "2 ..."], budget: int) -> Int[np.ndarray, "2 ..."]:
    """The lengths left of A and B when the longer one, B on a tie, loses a token until both fit `budget`."""
    a, b = lengths
    left_a = np.minimum(a, np.maximum(budget - b, budget - budget // 2))
    left_b = np.minimum(b, np.maximum(budget - a, budget // 2))
    return np.array([left_a, left_b])


def _truncate(pair: Pair, budget: int, rng: np.random.Generator) -> Pair:
    """Drops what exceeds `budget` from the longer text, each token from its front or its back with equal chance."""

    def trimmed(start: int, stop: int, length: int) -> tuple[int, int]:
        dropped = stop - start - length
        front = start + (int(rng.binomial(dropped, 0.5)) if dropped else 0)
        return front, front + length

    lengths = np.array([pair.a_stop - pair.a_start, pair.b_stop - pair.b_start])
    a_length, b_length = (int(length) for length in fitted(lengths, budget))
    a = trimmed(pair.a_start, pair.a_stop, a_length)
    b = trimmed(pair.b_start, pair.b_stop, b_length)
    return Pair(*a, *b, label=pair.label)
