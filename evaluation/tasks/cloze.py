"""The task `cloze`: which word or token stands at a place, asked of all models from both sides."""

from collections.abc import Callable, Sequence
from typing import Any

from batch import InputError
from evaluation.cloze import (
    LIKELIEST,
    Questions,
    answer,
    by_counting,
    by_model,
    is_bound,
    token_questions,
    weighable,
    word_questions,
)
from evaluation.passes import Subject
from evaluation.reliability import Row, answer_table, answer_values, differences, reliability
from evaluation.spans import CHOICES, Drawn, Spans, Tokenized, tokenized
from evaluation.task import Entry, Found, Settings, counted, watching

Ask = Callable[[Entry], list[Questions]]
"""The items as the tokenizer of an entry writes them."""


def cloze(entries: Sequence[Entry], settings: Settings) -> Found:
    """Words out of CHOICES, and tokens out of all, in contexts that are the same bytes for all checkpoints."""
    written = _written(entries)
    spans = Spans(entries[0].spelled, list(written.values()), settings.length)
    words = spans.words(settings.items)
    tokens = spans.tokens(settings.items) if len(written) == 1 else Drawn((), {})
    if not words.items and not tokens.items:
        raise InputError(
            f"--tasks=cloze: nothing of the text can be asked ({_said(words)}); give other text with --text=PATH, or "
            "set --length higher."
        )

    def of_words(entry: Entry) -> list[Questions]:
        own = written[entry.checkpoint.tokenizer.digest]
        return word_questions(own, entry.checkpoint.subject.vocab, words.items, settings.length)

    def of_tokens(entry: Entry) -> list[Questions]:
        own = written[entry.checkpoint.tokenizer.digest]
        return [token_questions(own, entry.checkpoint.subject.vocab, tokens.items, settings.length)]

    untrained = [entry.checkpoint.untrained() for entry in entries]
    closed = _rows(entries, untrained, settings, of_words) if words.items else []
    opened = _rows(entries, untrained, settings, of_tokens) if tokens.items else []
    tables = [f"Words out of {CHOICES}: {_said(words)}.", *_tables(closed, len(entries), 1 / CHOICES)]
    if len(written) > 1:
        tables.append("Tokens out of all: not asked, for the checkpoints do not have the same tokens.")
    else:
        choices = len(of_tokens(entries[0])[0].spans[0]) if opened else 0
        tables += [f"Tokens out of {choices:,}: {_said(tokens)}.{_bounds(opened)}"]
        tables += _tables(opened, len(entries), 1 / max(choices, 1))
    values = {"words": _values(words, closed, len(entries)), "tokens": _values(tokens, opened, len(entries))}
    return Found(tuple(tables), values, {"cloze": reliability((closed or opened)[: len(entries)])})


def _written(entries: Sequence[Entry]) -> dict[str, Tokenized]:
    """The text in the tokens of each tokenizer. Raises InputError where these do not decode to it."""
    for entry in entries:
        if not entry.lossless:
            raise InputError(
                f"--workdir={entry.name}: its tokenizer does not decode to the text, so that nobody knows which bytes "
                "a token stands for; leave this checkpoint out, or cloze out of --tasks."
            )
    return {entry.checkpoint.tokenizer.digest: tokenized(entry.text.tokens) for entry in entries}


def _said(drawn: Drawn) -> str:
    """How many items there are, of how many, and the name of their list."""
    dropped = "".join(f", {number:,} {reason}" for reason, number in drawn.dropped.items())
    return f"{len(drawn.items):,} of {drawn.drawn:,} drawn{dropped}; list {drawn.digest[:16]}"


def _bounds(rows: Sequence[Row]) -> str:
    if not any(row.bound for row in rows):
        return ""
    return (
        f" A model that reads one way weighs {LIKELIEST} of them, the likeliest from its own side and the truth: its "
        "nats are at least, its accuracy is at most what is printed."
    )


def _rows(entries: Sequence[Entry], untrained: Sequence[Subject], settings: Settings, ask: Ask) -> list[Row]:
    """The checkpoints first, then n-grams of their training text and random weights."""
    rows = [_row(entry.name, entry.checkpoint.subject, ask(entry), settings) for entry in entries]
    for name, entry, ngrams in counted(entries):
        rows.append(Row(f"{name}, {ngrams.name}", answer(ask(entry), by_counting(ngrams))))
    for entry, subject in zip(entries, untrained, strict=True):
        rows.append(_row(f"{entry.name}, random weights", subject, ask(entry), settings))
    return rows


def _row(name: str, subject: Subject, questions: Sequence[Questions], settings: Settings) -> Row:
    batch, bound = settings.batch(subject), is_bound(subject, questions[0])
    questions = [weighable(subject, each, batch) for each in questions]
    with watching(f"{name}, cloze of {'words' if len(questions[0].spans[0]) == CHOICES else 'tokens'}") as watch:
        return Row(name, answer(questions, by_model(subject, batch), watch), bound)


def _tables(rows: Sequence[Row], checkpoints: int, chance: float) -> list[str]:
    return [answer_table(rows, chance), *differences(rows[:checkpoints])[0]] if rows else []


def _values(drawn: Drawn, rows: Sequence[Row], checkpoints: int) -> dict[str, Any]:
    scores = [answer_values(row) for row in rows]
    return {"list": drawn.values, "scores": scores, "differences": differences(rows[:checkpoints])[1]}
