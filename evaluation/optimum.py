"""What a known source gives each token: the best that any model can do with the same questions."""

import math

import numpy as np
from jaxtyping import Float64, Int, Int64

from data.shards import Tokens
from data.sources import Source
from data.tokenizer import AnyTokenizer
from evaluation.blocks import Blocks
from evaluation.curve import Answers, Questions
from evaluation.oracle import symbols_of

AT_ONCE = 1 << 22
"""Symbols of the questions that a source is asked at once."""


def optimal_answers(
    source: Source, tokenizer: AnyTokenizer, tokens: Tokens, blocks: Blocks, questions: Questions
) -> Answers | None:
    """The bits of each target given what is visible and where in its document the block begins.

    What follows a document's symbols, its newline, is certain. None where the tokens are not the symbols of documents
    of this source, one by one.
    """
    symbols = symbols_of(source, tokenizer, blocks.tokens[:, 1:])
    begins = np.asarray(tokens.documents)[blocks.document]
    place = blocks.source[:, 1:] - begins[:, None]  # in the document
    inside = place < source.length
    if ((symbols >= 0) != inside).any():
        return None
    found, step = [], max(AT_ONCE // source.length, 1)
    for first in range(0, len(questions.block), step):
        part = slice(first, first + step)
        block, target = questions.block[part], questions.place[part] - 1
        found.append(_log_p(source, symbols[block], place[block], questions.visible[part, 1:], target))
    bits = -np.concatenate(found) / math.log(2)
    return Answers(bits, np.zeros(len(bits)))


def _log_p(
    source: Source,
    symbols: Int64[np.ndarray, "Q n"],
    place: Int64[np.ndarray, "Q n"],
    visible: np.ndarray,
    target: Int[np.ndarray, " Q"],
) -> Float64[np.ndarray, " Q"]:
    """Log-probabilities of the targets; the rest of their documents is hidden."""
    row = np.arange(len(target))
    text, shown = np.zeros((len(row), source.length), np.int64), np.zeros((len(row), source.length), bool)
    of, at = np.nonzero(symbols >= 0)
    text[of, place[of, at]], shown[of, place[of, at]] = symbols[of, at], visible[of, at]
    certain = symbols[row, target] < 0
    where = np.where(certain, 0, place[row, target])
    p = source.posteriors(text, shown, where)[row, symbols[row, target]]
    return np.where(certain, 0.0, np.log(p))
