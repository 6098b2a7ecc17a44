"""From scores of starts and ends in windows to answers, which are slices of the original context.

The rules are those of the release of BERT (run_squad.py: write_predictions): a span lies in the context, is at most so
many tokens long, does not end before it starts, and starts in the window that shows most of what surrounds its start
(`fullest`); of spans with the same text the best counts; spans that are only spaces are none. Of equal scores the
first window comes first, then the first start, then the first end, and no answer last.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int, Integer

from finetuning.spans.passages import Passage, text_of
from finetuning.spans.windows import Window, fullest


@dataclasses.dataclass(frozen=True)
class Limits:
    """What may be an answer, and how many are told.

    `tried` is how many starts of each window, the best first, are combined with as many ends; None combines all. The
    release tries 20, and can miss the best span: when the best starts stand behind the best ends, too far before them,
    or in a window that is not theirs, they crowd out what would be allowed. It takes the 20 from the whole sequence,
    here they are from the context alone: every span that the release sees is seen here.
    """

    answer: int = 30  # tokens of an answer
    n_best: int = 20  # different texts
    tried: int | None = 20


@dataclasses.dataclass(frozen=True)
class Guess:
    """One answer of several: its score, and the softmax of it among them. The text is empty where there is none."""

    text: str
    score: float
    probability: float


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The answers to a question, the best first.

    `best` is the best one that is not empty, or empty where no span may be an answer. `null_odds` is what speaks
    against answering at all: infinite where there is no answer, minus infinite where none was asked whether there is.
    """

    name: str
    best: str
    null_odds: float
    guesses: tuple[Guess, ...]

    def answer(self, threshold: float = 0.0) -> str:
        """The best answer, or none where `null_odds` are above the threshold."""
        return "" if self.null_odds > threshold else self.best


@dataclasses.dataclass(frozen=True, eq=False)
class _Spans:
    """First and last tokens, counted from the first one of window `row`, and their scores."""

    row: Int[np.ndarray, " n"]
    start: Int[np.ndarray, " n"]
    end: Int[np.ndarray, " n"]
    score: Float[np.ndarray, " n"]

    def __getitem__(self, chosen: np.ndarray) -> "_Spans":
        return _Spans(self.row[chosen], self.start[chosen], self.end[chosen], self.score[chosen])


def decode(
    passages: Sequence[Passage],
    windows: Sequence[Window],
    start: Float[np.ndarray, "W L"],
    end: Float[np.ndarray, "W L"],
    null: Float[np.ndarray, " W"] | None,
    limits: Limits = Limits(),
) -> list[Prediction]:
    """The predictions of BERT's head: a span's score is the sum of its two logits.

    The logits are those of the windows' tokens, and anything beyond their count. `null` is the sum of the start's and
    the end's logit at the null position, wherever the template puts it; a question's is the least of its windows'.
    `null_odds` is that less the best span's score. Without `null` (SQuAD 1.1) every question has an answer.

    The windows are all of all passages, in their order, as `windows` gives them.
    """
    start, end = start.astype(np.float64), end.astype(np.float64)
    found = []
    for passage, own, first in _by_passage(passages, windows):
        rows = slice(first, first + len(own))
        ranked = _ranked(own, _combined(own, start[rows], end[rows], limits), limits.answer)
        least = None if null is None else float(null[rows].min())
        texts = _texts(passage, own, ranked, limits.n_best)
        odds = -math.inf if least is None else least - texts[0][1] if texts else math.inf
        found.append(_prediction(passage, texts, odds, _with_null(texts, least, limits.n_best)))
    return found


def decode_beams(
    passages: Sequence[Passage],
    windows: Sequence[Window],
    start: Integer[np.ndarray, "W A"],
    start_score: Float[np.ndarray, "W A"],
    end: Integer[np.ndarray, "W A A"],
    end_score: Float[np.ndarray, "W A A"],
    null: Float[np.ndarray, " W"] | None,
    limits: Limits = Limits(answer=64),
) -> list[Prediction]:
    """The predictions of XLNet's head, whose ends depend on the start: for each of the A best starts the A best ends.

    `end[w, i, j]` is the j-th best end after the start `start[w, i]`, both counted from the window's first token; those
    outside the window's tokens, as of [CLS], are no spans. Scores are log probabilities, and a span's is their sum.
    `null` is the classifier's logit that there is no answer; `null_odds` is the least of the windows', as in the
    release, and no answer is not among the guesses.

    The release (Yang et al. 2019, run_squad.py) rejects `index >= paragraph_len - 1`, so that the last token of a
    window can be part of no answer. That is a defect, and not so here.
    """
    found = []
    for passage, own, first in _by_passage(passages, windows):
        rows = slice(first, first + len(own))
        row, i, j = np.indices(end[rows].shape).reshape(3, -1)
        score = start_score[rows].astype(np.float64)[row, i] + end_score[rows].astype(np.float64)[row, i, j]
        spans = _Spans(row, start[rows][row, i].astype(np.int64), end[rows][row, i, j].astype(np.int64), score)
        texts = _texts(passage, own, _ranked(own, spans, limits.answer), limits.n_best)
        least = -math.inf if null is None else float(null[rows].min())
        found.append(_prediction(passage, texts, least if texts else math.inf, texts))
    return found


def _by_passage(passages: Sequence[Passage], windows: Sequence[Window]) -> Iterator[tuple[Passage, list[Window], int]]:
    """Each passage, its windows, and the index of the first of them."""
    owner = np.array([window.passage for window in windows], np.int64)
    assert (np.diff(owner) >= 0).all(), "the windows of a passage stand together, in the order of the passages"
    bounds = np.searchsorted(owner, np.arange(len(passages) + 1))
    for passage, first, stop in zip(passages, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        yield passage, list(windows[first:stop]), first


def _combined(
    windows: Sequence[Window], start: Float[np.ndarray, "W L"], end: Float[np.ndarray, "W L"], limits: Limits
) -> _Spans:
    """The spans of all windows that the best starts and the best ends make, of at most `limits.answer` tokens."""
    rows, firsts, lasts = [], [], []
    for row, window in enumerate(windows):
        tried = window.count if limits.tried is None else limits.tried
        starts = np.argsort(-start[row, : window.count], kind="stable")[:tried]
        ends = np.argsort(-end[row, : window.count], kind="stable")[:tried]
        size = ends[None] - starts[:, None] + 1
        i, j = np.nonzero((size >= 1) & (size <= limits.answer))
        rows.append(np.full(len(i), row))
        firsts.append(starts[i])
        lasts.append(ends[j])
    row, first, last = np.concatenate(rows), np.concatenate(firsts), np.concatenate(lasts)
    return _Spans(row, first, last, start[row, first] + end[row, last])


def _ranked(windows: Sequence[Window], spans: _Spans, longest: int) -> _Spans:
    """Those of the spans that may be answers, the best first."""
    first = np.array([window.first for window in windows])
    count = np.array([window.count for window in windows])
    inside = (spans.start >= 0) & (spans.end < count[spans.row])
    spans = spans[inside & (spans.end >= spans.start) & (spans.end - spans.start < longest)]
    spans = spans[fullest(first, count)[first[spans.row] + spans.start] == spans.row]
    return spans[np.lexsort((spans.end, spans.start, spans.row, -spans.score))]


def _texts(passage: Passage, windows: Sequence[Window], spans: _Spans, most: int) -> list[tuple[str, float]]:
    """The first `most` different texts of ranked spans, but the empty one, with their scores."""
    found: dict[str, float] = {}
    columns = (column.tolist() for column in (spans.row, spans.start, spans.end, spans.score))
    for row, start, end, score in zip(*columns, strict=True):
        first = windows[row].first
        text = text_of(passage.context, first + start, first + end)
        if text and text not in found:
            found[text] = score
            if len(found) == most:
                break
    return list(found.items())


def _with_null(texts: list[tuple[str, float]], null: float | None, most: int) -> list[tuple[str, float]]:
    """At most `most` of the texts and no answer by their scores, and in any case no answer, unless `null` is None."""
    if null is None:
        return texts
    rank = sum(score >= null for _, score in texts)
    return [*texts[:rank], ("", null), *texts[rank : max(most - 1, rank)]]


def _prediction(
    passage: Passage, texts: list[tuple[str, float]], null_odds: float, told: list[tuple[str, float]]
) -> Prediction:
    """The best of the texts, and those that are told, which no answer may be among."""
    scores = np.array([score for _, score in told])
    weights = np.exp(scores - scores.max(initial=-np.inf))
    guesses = tuple(
        Guess(text, score, float(p)) for (text, score), p in zip(told, weights / weights.sum(), strict=True)
    )
    return Prediction(passage.example.name, texts[0][0] if texts else "", null_odds, guesses)
