"""Rows of a batch: what the corpus holds at given positions of its token stream."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from batch import InputError, Vocab
from data.config import DataConfig
from data.shards import Tokens


def corpus_rows(config: DataConfig, tokens: Tokens, vocab: Vocab, positions: Int[np.ndarray, "B L"]) -> dict[str, Any]:
    """The per-token fields of a Batch at `positions` of the corpus; a position of -1 is padding."""
    void = positions < 0
    ids = tokens.tokens[positions].astype(np.int32)  # -1 reads the last token, which is replaced at once
    ids[void] = vocab.pad or 0
    if config.isolate:
        document = np.searchsorted(tokens.documents, positions, side="right").astype(np.int32)
    else:
        document = (~void).astype(np.int32)
    return {
        "tokens": ids,
        "segments": np.zeros_like(ids),
        "document": document,
        "word": word_numbers(tokens.word_start, positions),
    }


def word_numbers(word_start: Bool[np.ndarray, " T"], positions: Int[np.ndarray, "B L"]) -> Int[np.ndarray, "B L"]:
    """Numbers the words of each row from 0, in its reading direction; -1 where the position is -1.

    Two neighbors share a word iff they are neighbors in the corpus too, in either direction, and the later of them in
    the text does not start a word. So a word that the window cuts counts as a word, and a reversed word stays one.
    """
    previous, current = positions[:, :-1], positions[:, 1:]
    joined = (np.abs(current - previous) == 1) & (previous >= 0) & (current >= 0)
    joined &= ~word_start[np.maximum(previous, current)]
    starts = positions >= 0
    starts[:, 1:] &= ~joined
    word = np.cumsum(starts, axis=1, dtype=np.int32) - 1
    word[positions < 0] = -1
    return word


def check_ids(tokens: Tokens, vocab: Vocab) -> None:
    """Raises InputError where the corpus holds a token id that the vocabulary does not have."""
    used = np.flatnonzero(tokens.counts)
    if len(used) and used[-1] >= vocab.size:
        raise InputError(
            f"vocab.size={vocab.size}: the corpus holds token id {used[-1]}; "
            "use the tokenizer that the corpus was tokenized with."
        )


def check_one_batch(config: DataConfig, tokens: Tokens, rows: int) -> None:
    """Raises InputError where the corpus does not fill `rows` rows of data.length tokens."""
    available = tokens.num_tokens
    if available < rows * config.length:
        raise InputError(
            f"data.batch_size={config.batch_size} x data.length={config.length}: one batch reads "
            f"{rows * config.length} tokens and the corpus has {available}; give more text or a smaller batch."
        )


def check_not_empty(tokens: Tokens) -> None:
    """Raises InputError where a held-out split has no text at all."""
    if not tokens.num_tokens:
        raise InputError(
            "data.validation, data.test: this split of the corpus is empty; raise its share or give more documents."
        )
