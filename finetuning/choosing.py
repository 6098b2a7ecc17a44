"""Rows of which a place is chosen: one of several endings, or the first and the last token of an answer."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from batch import InputError
from data.task import TaskData
from data.tokenizer import AnyTokenizer
from finetuning.encoding import Asked, Encoded
from finetuning.examples import Choice, Question
from finetuning.spans.passages import Passage, spell
from finetuning.spans.windows import Cut, Window, training_windows, windows
from finetuning.templates import Row, Template


def encode_choices(examples: Sequence[Choice], tokenizer: AnyTokenizer, template: Template, data: TaskData) -> Encoded:
    """A row for each example, which holds its choices side by side, each as the row of its context and its ending.

    Each is a document, so that it is read as if it stood alone; an ending that is empty is no choice. Raises
    InputError, by the example's name, where the right one is empty or not there, or less than two are.
    """
    pieces = iter(tokenizer.encode_many([text for each in examples for text in (each.context, *each.endings)]))
    rows, places, labels = [], [], []
    for example in examples:
        there = [bool(ending.strip()) for ending in example.endings]
        check_choice(example, there)
        context, endings = next(pieces), [next(pieces) for _ in example.endings]
        parts = [
            template.row([context, ending], data.length, tokenizer.vocab)
            for ending, is_there in zip(endings, there, strict=True)
            if is_there
        ]
        begins = np.cumsum([0, *(len(part.tokens) for part in parts)])
        own = np.full(len(there), -1, np.int32)
        own[there] = [begin + part.summary for begin, part in zip(begins, parts, strict=False)]
        rows.append(side_by_side(parts))
        places.append(own)
        labels.append(-1 if example.label is None else example.label)
    return Encoded(tuple(rows), label=np.array(labels, np.int32), places=tuple(places))


def check_choice(example: Choice, there: Sequence[bool]) -> None:
    """Raises InputError where there is nothing to choose, or what is right is not there."""
    if sum(there) < 2:
        raise InputError(f"example {example.name}: has {sum(there)} endings that are not empty; give two or more.")
    if example.label is not None and not (0 <= example.label < len(there) and there[example.label]):
        raise InputError(f"example {example.name}: label {example.label} names no ending; correct it.")


def side_by_side(parts: Sequence[Row]) -> Row:
    """Rows as one, a document each; its summary is that of the first."""
    return Row(
        tokens=np.concatenate([part.tokens for part in parts]),
        segments=np.concatenate([part.segments for part in parts]),
        source=np.concatenate([part.source for part in parts]),
        summary=parts[0].summary,
        document=np.repeat(np.arange(1, len(parts) + 1, dtype=np.int32), [len(part.tokens) for part in parts]),
    )


def encode_questions(
    examples: Sequence[Question],
    tokenizer: AnyTokenizer,
    template: Template,
    data: TaskData,
    *,
    training: bool,
) -> Encoded:
    """A row for each window of each context, in which its tokens can be chosen, after the slot of no answer if any.

    No answer is read at the summary. To learn from are windows that hold the whole answer and, where questions may
    have none, all others too, for which no answer is right. Raises InputError for a question that leaves no room for
    an answer, and for training where no window holds one.
    """
    passages = spell(tokenizer, examples, data.max_question)
    cut = Cut(data.length, template.specials(2), data.window_step)
    found = training_windows(passages, cut, unanswered=data.nullable) if training else windows(passages, cut)
    if training and all(window.target is None for window in found):
        raise InputError(
            f"data.length={data.length}: every question of the training set is a sequence with no answer window; make "
            "rows longer, or correct the answers."
        )
    made = [window_row(passages[window.passage], window, tokenizer, template, data) for window in found]
    first = int(data.nullable)
    nothing = (0, 0) if data.nullable else (-1, -1)
    spans = [nothing if each.target is None else (each.target[0] + first, each.target[1] + first) for each in found]
    return Encoded(
        tuple(row for row, _ in made),
        label=np.array([window.target is None for window in found], np.int32) if data.nullable else None,
        places=tuple(places for _, places in made),
        span=np.array(spans, np.int32).reshape(-1, 2),
        asked=Asked(tuple(passages), tuple(found)),
    )


def told_of_windows(train: Encoded, dev: Encoded) -> str:
    """How many windows there are, and of how many questions of the training set none holds the answer."""
    assert train.asked is not None and dev.asked is not None, "of questions"
    held = {window.passage for window in train.asked.windows if window.target is not None}
    lost = sum(not own.example.impossible and i not in held for i, own in enumerate(train.asked.passages))
    without = f"; training questions without a window that holds their answer: {lost:,}" if lost else ""
    return f"windows: {len(train):,} to learn from and {len(dev):,} to judge by{without}"


def window_row(
    passage: Passage, window: Window, tokenizer: AnyTokenizer, template: Template, data: TaskData
) -> tuple[Row, Int[np.ndarray, " P"]]:
    """The row of a window, and where in it stands what can be chosen."""
    context = passage.context.tokens[window.first : window.first + window.count]
    after = template.question == "first"  # whether the context is the second text
    texts = [passage.question, context] if after else [context, passage.question]
    row = template.row(texts, data.length, tokenizer.vocab)
    own = np.flatnonzero((row.source >= 0) & (row.segments == int(after)))
    assert len(own) == window.count, "a window is as long as there is room"
    return row, np.concatenate([[row.summary] if data.nullable else [], own]).astype(np.int32)
