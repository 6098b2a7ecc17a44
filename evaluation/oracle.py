"""What a known source gives the symbols that models are asked for: the least loss that anyone can have."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from batch import InputError, Vocab
from data.sources import Source
from data.tokenizer import AnyTokenizer
from evaluation.batched import Watch, silent
from evaluation.blocks import Blocks
from evaluation.likelihood import Visible
from evaluation.scores import TokenScores, token_scores

AT_ONCE = 1 << 19
"""Symbols of the questions that a source is asked at once."""


@dataclasses.dataclass(frozen=True, eq=False)
class Documents:
    """Documents of a source, a block each, of which the symbols are scored and the newline is not."""

    source: Source
    vocab: Vocab  # whose text is letters of the source and nothing else: alphabet and length are given
    letters: Int64[np.ndarray, " V"]  # the id of each symbol
    symbols: Int64[np.ndarray, "N n"]
    blocks: Blocks


@dataclasses.dataclass(frozen=True, eq=False)
class Optimum:
    """The source's own answers, given exactly what the models are shown."""

    tokens: TokenScores
    entropy: Float64[np.ndarray, " T"]  # of each posterior, in nats: its loss on average; NaN where not asked


def documents(source: Source, tokenizer: AnyTokenizer, blocks: Blocks, most: int) -> Documents:
    """The first documents of a text. They are independent and alike, so that no others would be better.

    Raises InputError where the blocks are shorter than documents, or hold anything else.
    """
    size = source.length
    if blocks.length < size + 2:
        raise InputError(
            f"--length={blocks.length}: a document of the source has {size} symbols and a newline, which take "
            f"{size + 2} tokens with the start; set --length={size + 2}."
        )
    first = Blocks(**{name: values[:most] for name, values in vars(blocks).items()})
    letters = np.concatenate([tokenizer.encode(letter) for letter in source.alphabet]).astype(np.int64)
    symbols = symbols_of(source, tokenizer, first.tokens[:, 1 : size + 1])
    ends = first.tokens[:, size + 1] == tokenizer.encode("\n")[0]
    if (symbols < 0).any() or not ends.all() or first.real[:, size + 2 :].any():
        raise InputError(
            f"--text: it holds documents that are none of the source's, which are lines of {size} letters out of "
            f"{source.alphabet}; leave it out, or give text that was drawn from the source."
        )
    scored = np.zeros_like(first.scored)
    scored[:, 1 : size + 1] = True
    asked = dataclasses.replace(first, scored=scored, byte_length=scored.astype(np.int32))
    others = np.setdiff1d(np.arange(tokenizer.vocab.size), letters)
    vocab = dataclasses.replace(tokenizer.vocab, special=tuple(others.tolist()))
    return Documents(source, vocab, letters, symbols, asked)


def optimum(documents: Documents, visible: Visible, asked: Bool[np.ndarray, "N L"], watch: Watch = silent) -> Optimum:
    """What the source gives each asked symbol, knowing the symbols that are visible and where each of them stands."""
    source, log_p, entropy = documents.source, np.full(asked.shape, np.nan), np.full(asked.shape, np.nan)
    block, place = np.nonzero(asked)
    step = max(AT_ONCE // source.length, 1)
    for first in range(0, len(block), step):
        row, at = block[first : first + step], place[first : first + step]
        shown, _ = visible(row, at)
        p = source.posteriors(documents.symbols[row], shown[:, 1 : source.length + 1], at - 1)
        log_p[row, at] = np.log(p[np.arange(len(row)), documents.symbols[row, at - 1]])
        entropy[row, at] = -(p * np.log(p)).sum(axis=1)
        watch(min(first + step, len(block)), len(block))
    tokens = token_scores(documents.blocks, log_p, np.zeros_like(log_p), asked)
    return Optimum(tokens, entropy[documents.blocks.scored])


def symbols_of(source: Source, tokenizer: AnyTokenizer, ids: Int[np.ndarray, "N n"]) -> Int64[np.ndarray, "N n"]:
    """Which symbol each id is; -1 where it is none."""
    kinds, index = np.unique(ids, return_inverse=True)
    letters = {letter: number for number, letter in enumerate(source.alphabet)}
    return np.array([letters.get(tokenizer.decode([int(i)]), -1) for i in kinds])[index.reshape(ids.shape)]
