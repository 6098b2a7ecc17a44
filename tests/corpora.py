"""Small random corpora for the tests of `data`."""

import numpy as np

from batch import Vocab
from data.shards import Tokens

END = 4
VOCAB = Vocab(size=1 << 16, special=(0, 1, 2, 3), pad=0, cls=1, sep=2, mask=3, end=END)


def corpus(sentence_lengths: list[list[int]], word_rate: float = 0.6, seed: int = 0) -> Tokens:
    """A corpus whose documents have sentences of these lengths; the last sentence of each counts its `end` token.

    Token ids are distinct (5, 6, 7, ...) as far as the vocabulary allows, so that a token names its place.
    """
    lengths = np.array([n for document in sentence_lengths for n in document], np.int64)
    sentences = np.concatenate([[0], np.cumsum(lengths)])
    documents = np.concatenate([[0], np.cumsum([sum(document) for document in sentence_lengths])]).astype(np.int64)
    total = int(sentences[-1])
    tokens = (5 + np.arange(total) % (VOCAB.size - 5)).astype(np.uint32)
    tokens[documents[1:] - 1] = END
    word_start = np.random.default_rng(seed).random(total) < word_rate
    word_start[np.concatenate([sentences[:-1], documents[1:] - 1])] = True
    byte_length = np.where(tokens == END, 0, 3).astype(np.uint8)
    return Tokens(
        tokens=tokens,
        word_start=word_start,
        byte_length=byte_length,
        sentences=sentences,
        documents=documents,
        sentence_bytes=3 * sentences,
        document_bytes=3 * documents,
        counts=np.bincount(tokens, minlength=VOCAB.size).astype(np.int64),
    )


def random_corpus(documents: int, sentences: int, words: int, seed: int = 0) -> Tokens:
    """About `documents` x `sentences` x `words` tokens; every document has at least two sentences."""
    rng = np.random.default_rng(seed)
    counts = 2 + rng.poisson(max(sentences - 2, 0), documents)
    return corpus([list(2 + rng.poisson(max(words - 2, 0), n)) for n in counts], seed=seed)
