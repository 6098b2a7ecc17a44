"""Interpolated n-grams of token ids (Witten and Bell 1991): what counting the training text alone predicts.

p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h)), where t(h) counts the different tokens that followed h and h' is h
without its first token; below the unigrams, all ids that text can hold are alike. Each p(. | h) sums to 1.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from batch import Vocab
from data.shards import Tokens
from evaluation.blocks import Blocks, cut, emittable
from evaluation.scores import Score, token_scores

MOST = 10_000_000
"""Tokens of the training text that are counted at most; the n-grams of more do not fit into memory."""


@dataclasses.dataclass(frozen=True, eq=False)
class Counts:
    """Histories of one length: where each is found, and what followed it."""

    histories: Int64[np.ndarray, " E"]  # sorted keys: the token added in front, and the number of the shorter history
    continued: Int64[np.ndarray, " W"]  # sorted keys: the number of a history, and the token that followed it
    times: Int64[np.ndarray, " W"]  # how often it did
    total: Int64[np.ndarray, " E"]  # c(h)
    kinds: Int64[np.ndarray, " E"]  # t(h)


@dataclasses.dataclass(frozen=True, eq=False)
class Ngrams:
    vocab: Vocab
    counts: tuple[Counts, ...]  # of histories of 0, 1, ... tokens

    @property
    def order(self) -> int:
        return len(self.counts)

    @property
    def name(self) -> str:
        return "unigram" if self.order == 1 else f"{self.order}-gram"

    def log_p(self, history: Int[np.ndarray, "Q C"], token: Int[np.ndarray, " Q"]) -> Float64[np.ndarray, " Q"]:
        """Log-probability of each token after its history, oldest token first; -1 where there was none."""
        p = np.full(len(token), 1 / emittable(self.vocab).sum())
        number = np.zeros(len(token), np.int64)
        for back, counts in enumerate(self.counts):
            if back:
                number = _extended(counts.histories, history[:, -back], number, self.vocab)
            if not len(counts.continued):
                break
            known = np.maximum(number, 0)
            place, found = _find(counts.continued, known * self.vocab.size + token)
            times, total, kinds = counts.times[place] * found, counts.total[known], counts.kinds[known]
            p = np.where(number >= 0, (times + kinds * p) / (total + kinds), p)
        return np.log(p)


def count_ngrams(tokens: Tokens, vocab: Vocab, order: int, length: int) -> Ngrams:
    """The n-grams up to `order` of a split, cut into blocks of `length` as the text that they will be asked about."""
    history, token = _contexts(cut(_first(tokens, MOST), vocab, length), order - 1)
    text = (token >= 0) & emittable(vocab)[token]
    history, token = history[text], token[text]
    number, counts = np.zeros(len(token), np.int64), []
    for back in range(order):
        histories = np.zeros(1, np.int64)
        if back:
            present = (number >= 0) & (history[:, -back] >= 0)
            key = number * (vocab.size + 1) + history[:, -back]
            histories = np.unique(key[present])
            number = np.where(present, np.searchsorted(histories, key), -1)
        seen = number >= 0
        continued, times = np.unique(number[seen] * vocab.size + token[seen], return_counts=True)
        parents = continued // vocab.size
        total = np.bincount(parents, times, len(histories)).astype(np.int64)
        counts.append(Counts(histories, continued, times, total, np.bincount(parents, minlength=len(histories))))
    return Ngrams(vocab, tuple(counts))


def ngram_score(ngrams: Ngrams, blocks: Blocks) -> Score:
    """The likelihood of the blocks, from the same context within them as a left-to-right model has."""
    history, token = _contexts(blocks, ngrams.order - 1)
    log_p = np.full(blocks.tokens.shape, np.nan)
    log_p[:, 1:] = _by_parts(ngrams, history, token).reshape(len(log_p), -1)
    order = ngrams.order
    return Score(
        name=ngrams.name,
        normalised=True,
        context="none" if order == 1 else f"{order - 1} tokens of the block before it",
        passes=0.0,
        flops=0.0,
        tokens=token_scores(blocks, log_p, np.zeros_like(log_p)),
    )


def _by_parts(
    ngrams: Ngrams, history: Int[np.ndarray, "Q C"], token: Int[np.ndarray, " Q"]
) -> Float64[np.ndarray, " Q"]:
    parts = range(0, len(token), 1 << 20)
    return np.concatenate([ngrams.log_p(history[i : i + (1 << 20)], token[i : i + (1 << 20)]) for i in parts])


def _contexts(blocks: Blocks, length: int) -> tuple[Int[np.ndarray, "Q C"], Int[np.ndarray, " Q"]]:
    """For every place of every block but the first: the `length` tokens before it, -1 where there is none; the token.

    The start token is part of the context, as it is for the models.
    """
    padded = np.pad(np.where(blocks.real, blocks.tokens, -1), ((0, 0), (max(length - 1, 0), 0)), constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, max(length, 1), axis=1)[:, : blocks.length - 1]
    token = np.where(blocks.real, blocks.tokens, -1)[:, 1:].reshape(-1)
    return windows.reshape(len(token), -1), token


def _first(tokens: Tokens, most: int) -> Tokens:
    """The first documents of a split, of so many tokens or a little more."""
    if tokens.num_tokens <= most:
        return tokens
    kept = max(2, int(np.searchsorted(tokens.documents, most)) + 1)
    return dataclasses.replace(tokens, documents=np.minimum(tokens.documents[:kept], most))


def _extended(
    histories: Int64[np.ndarray, " E"], token: Int[np.ndarray, " Q"], number: Int64[np.ndarray, " Q"], vocab: Vocab
) -> Int64[np.ndarray, " Q"]:
    """The numbers of longer histories; -1 where the longer, or already the shorter, was never seen."""
    place, found = _find(histories, number * (vocab.size + 1) + token)
    return np.where(found & (number >= 0) & (token >= 0), place, -1)


def _find(
    keys: Int64[np.ndarray, " K"], wanted: Int64[np.ndarray, " Q"]
) -> tuple[Int64[np.ndarray, " Q"], Bool[np.ndarray, " Q"]]:
    """Where each is among the sorted keys, and whether it is there."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return place, keys[place] == wanted
