"""What files of tasks say, one frozen value an example: text and labels as they are written, before any tokenizer."""

import dataclasses

NOWHERE = -1
"""The start of an answer whose place the file gives wrongly: a reference to compare texts with, never a target."""


@dataclasses.dataclass(frozen=True)
class Labeled:
    """One or more texts, and a class or a number: sentences, pairs, regression."""

    name: str  # its id in the file, or else its index there, from 0 on
    texts: tuple[str, ...]  # A, or A and B, or more: segments
    label: str | None  # as written; None where the set is published without


@dataclasses.dataclass(frozen=True)
class Tagged:
    """Words with a tag each."""

    name: str
    words: tuple[str, ...]
    tags: tuple[str, ...] | None  # one a word
    spaced: tuple[bool, ...]  # whether a space follows the word in the text


@dataclasses.dataclass(frozen=True)
class Answer:
    text: str
    start: int  # the index of its first character in the context, or NOWHERE


@dataclasses.dataclass(frozen=True)
class Question:
    """A question about a context, answered by a stretch of it, or by nothing."""

    name: str
    question: str
    context: str
    answers: tuple[Answer, ...]  # of several people, for an evaluation; none where it is unanswerable, or unpublished
    impossible: bool = False  # the context does not answer it (Rajpurkar et al. 2018)


@dataclasses.dataclass(frozen=True)
class Choice:
    """A context and several ways to go on, one of which is right."""

    name: str
    context: str
    endings: tuple[str, ...]
    label: int | None  # the index of the right one
