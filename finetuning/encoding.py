"""Examples of tasks as rows of token ids with their labels."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from batch import InputError, Vocab
from data.tokenizer import AnyTokenizer
from finetuning.examples import Labeled, Tagged
from finetuning.spans.passages import Passage
from finetuning.spans.windows import Window
from finetuning.task import Example
from finetuning.templates import Row, Template


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
    """Questions, and the windows of their contexts."""

    passages: tuple[Passage, ...]
    windows: tuple[Window, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """Rows, and of each its class, its number, its tags or what can be chosen, whichever the task has."""

    rows: tuple[Row, ...]
    label: Int[np.ndarray, " n"] | None = None  # -1 where it is not published
    value: Float[np.ndarray, " n"] | None = None  # NaN where it is not published
    tags: tuple[Int[np.ndarray, " _"], ...] | None = None  # of the tokens of each row; -1 where no word is read
    words: tuple[Int[np.ndarray, " _"], ...] | None = None  # where each word is read; -1 where that was cut off
    places: tuple[Int[np.ndarray, " _"], ...] | None = (
        None  # of what can be chosen in each row; -1 for what is not there
    )
    span: Int[np.ndarray, "n 2"] | None = None  # the slots of `places` that begin and end the answer; -1 if not known
    asked: Asked | None = None  # of questions, whose windows are the rows
    features: tuple[Float[np.ndarray, "_ _ D"], ...] | None = None  # of a frozen trunk: of each slot, of each layer

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> Int[np.ndarray, " n"]:
        return np.array([len(row.tokens) for row in self.rows], np.int64)


def encode_labeled(
    examples: Sequence[Labeled],
    labels: tuple[str, ...],
    tokenizer: AnyTokenizer,
    template: Template,
    length: int,
) -> Encoded:
    """Texts with a class each, or with a number each where there are no classes.

    Raises InputError for a label that is none of the classes, or no number.
    """
    pieces = iter(tokenizer.encode_many([text for example in examples for text in example.texts]))
    vocab: Vocab = tokenizer.vocab
    rows = tuple(template.row([next(pieces) for _ in example.texts], length, vocab) for example in examples)
    if not labels:
        return Encoded(rows, value=np.array([number_of(example) for example in examples], np.float32))
    classes = [class_of(example.label, labels, example) for example in examples]
    return Encoded(rows, label=np.array(classes, np.int32))


def encode_tagged(
    examples: Sequence[Tagged],
    labels: tuple[str, ...],
    tokenizer: AnyTokenizer,
    template: Template,
    length: int,
) -> Encoded:
    """Sentences of words with a tag each, which is read at the piece of the word that the template says.

    A word is written with the space before it that its text has; words whose pieces are cut off have no place.
    """
    pieces = iter(tokenizer.encode_many([word for example in examples for word in written(example)]))
    rows, tags, words = [], [], []
    for example in examples:
        parts = [next(pieces) for _ in example.words]
        row = template.row([np.concatenate(parts)], length, tokenizer.vocab)
        place = places_of(row, parts, template.word)
        own = np.full(len(row.tokens), -1, np.int32)
        for index, tag in zip(place, example.tags or (), strict=example.tags is not None):
            if index >= 0:
                own[index] = class_of(tag, labels, example)
        rows.append(row)
        tags.append(own)
        words.append(place)
    return Encoded(tuple(rows), tags=tuple(tags), words=tuple(words))


def written(example: Tagged) -> list[str]:
    """The words, each with the space that stands before it in the text."""
    before = ("", *(" " if spaced else "" for spaced in example.spaced[:-1]))
    return [space + word for space, word in zip(before, example.words, strict=True)]


def places_of(
    row: Row, parts: Sequence[Int[np.ndarray, " _"]], which: Literal["first", "last"]
) -> Int[np.ndarray, " _"]:
    """Where in the row the first or the last piece of each word stands; -1 where it was cut off, or there is none."""
    stands = {int(number): index for index, number in enumerate(row.source) if number >= 0}
    ends = np.cumsum([len(part) for part in parts])
    found = [end - (len(part) if which == "first" else 1) for end, part in zip(ends, parts, strict=True)]
    return np.array([stands.get(int(n), -1) if len(p) else -1 for n, p in zip(found, parts, strict=True)], np.int32)


def class_of(label: str | None, labels: tuple[str, ...], example: Example) -> int:
    """The number of a class, -1 for none. Raises InputError for one that is not among the classes."""
    if label is None:
        return -1
    if label not in labels:
        raise InputError(
            f"example {example.name}: label {label!r} is not one of {', '.join(labels)}, which the head has; correct "
            "it, or add it to the training set."
        )
    return labels.index(label)


def number_of(example: Labeled) -> float:
    """The number that a label writes, NaN for none. Raises InputError for any other text."""
    try:
        return float("nan" if example.label is None else example.label)
    except ValueError:
        raise InputError(
            f"example {example.name}: label {example.label!r} is no number; a regression needs one."
        ) from None
