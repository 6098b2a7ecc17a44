"""What a reader looks at: who sees whom under each objective, and what each model writes into the same blanks."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ablation.results import Blank, Mask
from batch import Batch, Vocab
from data.tokenizer import AnyTokenizer
from evaluation.batched import silent
from evaluation.bayes import normalized
from evaluation.cloze import Questions, by_model, token_questions, weighable
from evaluation.spans import Item, Spans, tokenized
from evaluation.task import Entry, Settings
from models.visibility import every_row, visible
from training.build import Run
from training.keys import held_out_key

SHOWN = 24
"""Tokens of a row whose mask is drawn."""

LIKELIEST = 5
"""Answers to a blank."""

Answer = tuple[list[tuple[int, float]], float]
"""The likeliest tokens with their probabilities, and the probability of the truth."""


def mask(arm: str, run: Run) -> Mask:
    """Who sees whom in the beginning of the first row that the arm's objective prepares of the held-out text."""
    batch = _beginning(run.validation.batch(0), run)
    prepare = jax.jit(lambda batch: run.experiment.objective.prepare(batch, run.vocab, held_out_key()))
    inputs, targets = prepare(batch)
    rows, asked = every_row(inputs), np.asarray(targets.weights)[0] > 0
    predict = np.asarray(inputs.predict)[0][asked]
    content = np.asarray(visible(inputs, rows, None, strict=jnp.zeros_like(rows, bool)))[0, 0]
    query = None
    if bool(inputs.blind[0]):
        strict = jnp.ones_like(inputs.predict, bool)
        query = np.asarray(visible(inputs, inputs.predict, None, strict=strict))[0, 0][asked]
    name = functools.partial(piece, run.prepared.tokenizer, run.vocab)
    labels = np.asarray(targets.labels)[0][asked]
    shown = np.asarray(inputs.tokens)[0]
    predicts = tuple((int(place), name(int(label))) for place, label in zip(predict, labels, strict=True))
    return Mask(arm, tuple(name(int(token)) for token in shown), content, query, predicts)


def _beginning(batch: Batch, run: Run) -> Batch:
    """The first row, and as much of it as is drawn."""
    length = run.experiment.data.length
    fits = length <= SHOWN or run.experiment.objective.reuse is not None  # halves are drawn whole
    width = length if fits else SHOWN

    def cut(value: np.ndarray) -> np.ndarray:
        return value[:1, :width] if np.ndim(value) == 2 else value[:1]

    return jax.tree.map(cut, batch)


def piece(tokenizer: AnyTokenizer, vocab: Vocab, token: int) -> str:
    """A token as text; the ids that no text holds by their role."""
    for role in ("pad", "cls", "sep", "mask", "end"):
        if getattr(vocab, role) == token:
            return f"[{role.upper()}]"
    return tokenizer.pieces[token].decode(errors="replace") or f"[{token}]"


def blanks(entries: Mapping[str, Entry], count: int = 6) -> tuple[Blank, ...]:
    """Places of the held-out text with what each arm holds likeliest there, from both sides.

    Only arms with the same tokens that decode to the text can be asked the same; of others, and of no text long enough,
    there are none.
    """
    first = next(iter(entries.values()))
    if len({entry.checkpoint.tokenizer.digest for entry in entries.values()}) > 1 or not first.lossless:
        return ()
    text, tokenizer, vocab = tokenized(first.text.tokens), first.checkpoint.tokenizer, first.checkpoint.subject.vocab
    name = functools.partial(piece, tokenizer, vocab)
    spelled = first.spelled
    items = Spans(spelled, [text], first.length).tokens(count).items
    if not items:
        return ()
    questions = token_questions(text, vocab, items, first.length)
    answers = {arm: _answers(entry, questions) for arm, entry in entries.items()}
    starts = np.asarray(first.text.tokens.document_bytes)
    return tuple(
        _blank(spelled[int(starts[item.document]) :], item, {arm: each[number] for arm, each in answers.items()}, name)
        for number, item in enumerate(items)
    )


def _blank(document: bytes, item: Item, answers: Mapping[str, Answer], name: Callable[[int], str]) -> Blank:
    (low, high), (begin, end) = item.context, item.target
    before, truth, after = (
        document[a:b].decode(errors="replace") for a, b in ((low, begin), (begin, end), (end, high))
    )
    return Blank(
        before=before,
        truth=truth,
        after=after,
        answers={arm: tuple((name(token), p) for token, p in best) for arm, (best, _) in answers.items()},
        truth_probability={arm: p for arm, (_, p) in answers.items()},
    )


def _answers(entry: Entry, questions: Questions) -> list[Answer]:
    """For each question the likeliest tokens with their probabilities, and the probability of the truth."""
    subject = entry.checkpoint.subject
    batch = Settings(entry.length).batch(subject)
    questions = weighable(subject, questions, batch)
    p = np.exp(normalized(by_model(subject, batch)(questions, silent)))
    found = []
    for row, spans, truth in zip(p, questions.spans[:, :, 0], questions.truth, strict=True):
        best = np.argsort(-row, kind="stable")[:LIKELIEST]
        found.append(([(int(spans[i]), float(row[i])) for i in best], float(row[truth])))
    return found
