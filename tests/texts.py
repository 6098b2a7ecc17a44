"""Small random batches for the tests of `objectives`."""

import numpy as np

from batch import Batch, Vocab

VOCAB = Vocab(size=40, special=(0, 1, 2, 3, 4, 9), pad=0, cls=1, sep=2, mask=3)  # 4 = unknown, 9 = unused


def batch_of(tokens: np.ndarray, document: np.ndarray | None = None, word: np.ndarray | None = None) -> Batch:
    """Rows numbered from 0, each token a word where none are given."""
    rows, length = tokens.shape
    document = np.ones_like(tokens) if document is None else document
    word = np.tile(np.arange(length), (rows, 1)) if word is None else word
    hidden = VOCAB.is_special[tokens] | (document == 0)
    return Batch(
        tokens=tokens.astype(np.int32),
        segments=np.zeros((rows, length), np.int32),
        document=document.astype(np.int32),
        word=np.where(hidden, -1, word).astype(np.int32),
        example=np.arange(rows, dtype=np.int32),
        epoch=np.zeros(rows, np.int32),
        fresh=np.ones(rows, bool),
        summary=np.zeros(rows, np.int32),
    )


def random_batch(rows: int, length: int, seed: int = 0, start_rate: float = 0.6) -> Batch:
    """Rows of every special and of every number of real tokens, words of several pieces."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, VOCAB.size, (rows, length))
    document = np.arange(length) < rng.integers(3, length + 1, (rows, 1))
    starts = rng.random((rows, length)) < start_rate
    return batch_of(np.where(document, tokens, 0), document.astype(int), np.cumsum(starts, axis=1))


def only_ordinary(rows: int, length: int, seed: int = 0) -> Batch:
    return batch_of(np.random.default_rng(seed).choice(VOCAB.ordinary, (rows, length)))


def eligible(batch: Batch) -> np.ndarray:
    return (batch.document != 0) & ~VOCAB.is_special[batch.tokens]
