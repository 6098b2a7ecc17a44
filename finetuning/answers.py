"""From the scores of windows to answers: what is predicted, when none is, and what that is worth."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from data.task import TaskData
from finetuning.encoding import Encoded
from finetuning.formats.predictions import write_answers, write_n_best, write_null_odds
from finetuning.metrics import squad2
from finetuning.metrics.answers import best_threshold, judged, word_f1
from finetuning.metrics.answers_zh import run_f1
from finetuning.scoring import measured
from finetuning.spans.decoding import Limits, Prediction, decode, decode_beams
from finetuning.task import Task
from objectives.pointing import NEVER, Beams

THRESHOLD = "null_threshold"
"""The name under which a measurement tells the threshold that it chose."""

JUDGES: dict[str, Callable[[str, str], float]] = {"answer_f1": word_f1, "answer_f1_zh": run_f1}
"""What one answer is worth, by the metric that is its mean."""

LARGEST = 1e9
"""What stands for infinite odds in a file."""


def answers_of(scores: Sequence[Any], encoded: Encoded, data: TaskData) -> list[Prediction]:
    """The answers to each question, from what `Extraction.read` says of each window."""
    assert encoded.asked is not None, "made by encode_questions"
    passages, windows, limits = encoded.asked.passages, encoded.asked.windows, Limits(answer=data.max_answer)
    first = int(data.nullable)  # the slot of the first token
    if isinstance(scores[0], Beams):
        fields = (list(map(np.asarray, field)) for field in zip(*scores, strict=True))
        start, start_score, end, end_score, null = (stacked(field, -1) for field in fields)
        odds = null if data.nullable else None
        return decode_beams(passages, windows, start - first, start_score, end - first, end_score, odds, limits)
    logits = stacked(scores, NEVER)
    none = logits[:, :, 0].sum(axis=1) if data.nullable else None
    return decode(passages, windows, logits[:, 0, first:], logits[:, 1, first:], none, limits)


def stacked(arrays: Sequence[Shaped[np.ndarray, "..."]], fill: float) -> Shaped[np.ndarray, "..."]:
    """Arrays of one rank as one, each filled up to the largest."""
    largest = [max(sizes) for sizes in zip(*(array.shape for array in arrays), strict=True)]
    found = np.full((len(arrays), *largest), fill, arrays[0].dtype)
    for i, array in enumerate(arrays):
        found[i, *map(slice, array.shape)] = array
    return found


def threshold_of(task: Task, found: Sequence[Prediction], references: Sequence[Sequence[str]]) -> float:
    """The odds above which no answer is given that make the F1 over these questions best."""
    odds = np.array([each.null_odds for each in found])
    answerable = np.array([bool(each) for each in references], bool)
    empty = np.array([not each.best for each in found], bool)
    judge = next(JUDGES[name] for name in task.metrics if name in JUDGES)
    return best_threshold(judged(judge, [each.best for each in found], references), empty, answerable, odds)[1]


def measured_answers(
    task: Task, found: Sequence[Prediction], references: list[list[str]], *, nullable: bool
) -> dict[str, float]:
    """Each metric, `score` and `error` as of every task; where there may be no answer, the threshold, chosen here.

    In English also what SQuAD's script says of questions that have an answer and of those that have none.
    """
    if not nullable:
        return measured(task, said(found, None), references)
    threshold = threshold_of(task, found, references)
    values = measured(task, said(found, threshold), references)
    if "answer_f1" in task.metrics:
        odds = np.array([each.null_odds for each in found])
        parts = squad2([each.best for each in found], references, odds, threshold)
        values |= {name: value for name, value in parts.items() if name.startswith(("HasAns", "NoAns"))}
    return {**values, THRESHOLD: threshold}


def said(found: Sequence[Prediction], threshold: float | None) -> list[str]:
    """The answers: none where the odds of that are above the threshold, if there is one."""
    return [each.best if threshold is None else each.answer(threshold) for each in found]


def write_found(folder: Path, name: str, found: Sequence[Prediction], threshold: float | None) -> None:
    """Writes the files of a set as the leaderboard has them: answers, the best guesses, the odds of no answer.

    None of the last where every question has an answer, and so no threshold.
    """
    names = [each.name for each in found]
    write_answers(folder / f"predictions-{name}.json", dict(zip(names, said(found, threshold), strict=True)))
    write_n_best(folder / f"nbest-{name}.json", {each.name: each.guesses for each in found})
    if threshold is not None:
        odds = {each.name: float(np.clip(each.null_odds, -LARGEST, LARGEST)) for each in found}
        write_null_odds(folder / f"null-odds-{name}.json", odds)
