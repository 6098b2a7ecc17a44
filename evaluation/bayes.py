"""What a model that reads one way says of a place of which both sides are known, by Bayes' rule.

p(v | left, right) = p(left v right) / sum_u p(left u right). The sum is over the candidates that are given: where they
are all that could stand there, this is the model's own posterior; over fewer, every p(v | left, right) is too large.
"""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from evaluation.batched import Watch, in_batches, silent
from evaluation.blocks import Blocks
from evaluation.likelihood import natural
from evaluation.ngrams import Ngrams
from evaluation.passes import Subject


def bayes(
    subject: Subject,
    blocks: Blocks,
    block: Int[np.ndarray, " Q"],
    place: Int[np.ndarray, " Q"],
    candidates: Int[np.ndarray, "Q C"],
    batch: int = 64,
    watch: Watch = silent,
) -> Float64[np.ndarray, "Q C"]:
    """The log-posterior log p(v | left, right) of each candidate for one place of a block, over the candidates."""
    return normalized(joint(subject, blocks, block, place, candidates[:, :, None], batch, watch))


def joint(
    subject: Subject,
    blocks: Blocks,
    block: Int[np.ndarray, " Q"],
    place: Int[np.ndarray, " Q"],
    spans: Int[np.ndarray, "Q C W"],
    batch: int = 64,
    watch: Watch = silent,
) -> Float64[np.ndarray, "Q C"]:
    """What each candidate of W tokens that begins at the place makes of log p(left v right).

    What a model reads before it comes to the span is the same for all candidates, and is left out.
    """
    assert subject.one_pass, "a masked model has no chain in one pass"
    questions, choices, width = spans.shape
    index, real, ranks = np.arange(blocks.length), blocks.real, natural(blocks)
    total = np.zeros(questions * choices)

    def ask(part: Int[np.ndarray, " B"]) -> Any:
        question, choice = np.divmod(part, choices)
        where, tokens = block[question], blocks.tokens[block[question]]
        np.put_along_axis(tokens, place[question][:, None] + np.arange(width), spans[question, choice], axis=1)
        return subject.chain(subject.params, None, np.ones(len(part), bool), tokens, real[where], ranks[where])[0]

    for part, (log_p, _) in in_batches(len(total), batch, ask, watch):
        question = part // choices
        first = place[question][:, None]
        changed = index < first + width if subject.backward else index >= first
        counts = (changed & blocks.scored[block[question]])[:, 1:]
        total[part] = np.where(counts, np.asarray(log_p, np.float64), 0).sum(axis=1)
    return total.reshape(questions, choices)


def ngram_joint(
    ngrams: Ngrams,
    blocks: Blocks,
    block: Int[np.ndarray, " Q"],
    place: Int[np.ndarray, " Q"],
    spans: Int[np.ndarray, "Q C W"],
) -> Float64[np.ndarray, "Q C"]:
    """The same of n-grams: the span and the n - 1 tokens behind it are all that the candidates change."""
    questions, choices, width = spans.shape
    reach, total = max(ngrams.order - 1, 1), np.zeros((questions, choices))
    column = place[:, None] + np.arange(-reach, width + ngrams.order - 1)
    inside = (column >= 0) & (column < blocks.length)
    column = np.clip(column, 0, blocks.length - 1)
    inside &= blocks.real[block[:, None], column]
    window = np.where(inside, blocks.tokens[block[:, None], column], -1)
    counts = (inside & blocks.scored[block[:, None], column])[:, reach:]
    for q in range(questions):
        rows = np.tile(window[q], (choices, 1))
        rows[:, reach : reach + width] = spans[q]
        history = np.lib.stride_tricks.sliding_window_view(rows[:, :-1], reach, axis=1)[:, counts[q]]
        token = rows[:, reach:][:, counts[q]]
        log_p = ngrams.log_p(history.reshape(-1, reach), token.reshape(-1))
        total[q] = log_p.reshape(token.shape).sum(axis=1)
    return total


def normalized(log_p: Float64[np.ndarray, "Q C"]) -> Float64[np.ndarray, "Q C"]:
    """Log-probabilities that sum to 1 over the candidates."""
    return log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True)
