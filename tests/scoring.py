"""Everything that could have been written, as a text to be scored, and models that can be asked about it."""

import functools
import itertools

import jax
import numpy as np

from batch import Vocab
from cases import MODELS, build, loud
from data.shards import Tokens
from evaluation.blocks import Blocks, cut
from evaluation.passes import Subject
from objectives import CausalLm, MaskedLm, Objective, PermutationLm

LETTERS, SIZE = (3, 4, 5), 4
VOCAB = Vocab(size=6, special=(0, 1), pad=0, mask=1, end=2)  # 3 letters, and 3 ids that no text holds
WRITTEN = list(itertools.product(LETTERS, repeat=SIZE))  # all 81 texts of 4 letters

SUBJECTS: dict[str, tuple[str, Objective]] = {
    "gpt-causal": ("gpt", CausalLm()),
    "gpt-backward": ("gpt", CausalLm(direction="backward")),
    "xlnet-causal": ("xlnet", CausalLm()),
    "bert-masked": ("bert", MaskedLm()),
    "xlnet-masked": ("xlnet", MaskedLm()),
    "xlnet-permutation": ("xlnet", PermutationLm()),
    "memory-permutation": ("xlnet_memory", PermutationLm()),
    "memory-causal": ("xlnet_memory", CausalLm()),
}
ONE_PASS = [name for name in SUBJECTS if "masked" not in name]
BOTH_SIDES = [name for name in SUBJECTS if "masked" in name or "permutation" in name]


def tokens(documents: list[tuple[int, ...]], vocab: Vocab = VOCAB) -> Tokens:
    """Documents of these ids, each closed with its end, a byte and a word a letter."""
    ids = np.array([i for document in documents for i in (*document, vocab.end)], np.uint16)
    ends = np.cumsum([0, *(len(document) + 1 for document in documents)], dtype=np.int64)
    bounds = np.cumsum([0, *map(len, documents)], dtype=np.int64)
    return Tokens(
        tokens=ids,
        word_start=np.ones(len(ids), bool),
        byte_length=(ids != vocab.end).astype(np.uint8),
        sentences=ends,
        documents=ends,
        sentence_bytes=bounds,
        document_bytes=bounds,
        counts=np.bincount(ids, minlength=vocab.size).astype(np.int64),
    )


def texts(count: int = 24, longest: int = 19, seed: int = 0) -> Tokens:
    """Documents of random letters and of every length from 1."""
    rng = np.random.default_rng(seed)
    return tokens([tuple(rng.choice(LETTERS, 1 + i * longest // count).tolist()) for i in range(count)])


@functools.cache
def enumerated() -> Blocks:
    """The 81 texts, a block each."""
    return cut(tokens(WRITTEN), VOCAB, SIZE + 1)


@functools.cache
def subject(name: str, seed: int = 2) -> Subject:
    """A subject with large random weights, and no biases of the tokens, so that context decides."""
    model, objective = SUBJECTS[name]
    unbiased = lambda path, leaf: 0 * leaf if leaf.shape == (VOCAB.size,) else 2 * leaf  # noqa: E731
    params = jax.tree_util.tree_map_with_path(unbiased, loud(MODELS[model], VOCAB.size, seed))
    return Subject(MODELS[model], build(MODELS[model], VOCAB.size), params, objective, VOCAB)
