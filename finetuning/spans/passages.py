"""A question as a tokenizer writes it: its tokens, those of its context, and which of them are its answer."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from data.alignment import Located, locate
from data.tokenizer import AnyTokenizer
from finetuning.examples import Question


@dataclasses.dataclass(frozen=True, eq=False)
class Passage:
    """A question's tokens and its context's; `answer` is the first and the last token of its first answer.

    That is the smallest span that covers the answer: where a token reaches across the answer's edge, more than it.
    None where the question has no answer, or the answer is not what the context holds at its start.
    """

    example: Question
    question: Int[np.ndarray, " Q"]
    context: Located
    answer: tuple[int, int] | None


def spell(tokenizer: AnyTokenizer, questions: Sequence[Question], max_question: int = 64) -> list[Passage]:
    """The questions in their order; of each its first `max_question` tokens, as in BERT's release."""
    asked = tokenizer.encode_many([each.question for each in questions])
    contexts = locate(tokenizer, [each.context for each in questions])
    return [
        Passage(example, tokens[:max_question], context, _answer(example, context))
        for example, tokens, context in zip(questions, asked, contexts, strict=True)
    ]


def text_of(context: Located, first: int, last: int) -> str:
    """The original text of the tokens `first` to `last`, without the spaces around it."""
    return context.text[context.characters[first, 0] : context.characters[last, 1]].strip()


def covering(context: Located, first: int, stop: int) -> tuple[int, int] | None:
    """The first and the last token that stand for any of the characters [first, stop); None where no token does.

    Of a character of several tokens, all of them.
    """
    begin = int(np.searchsorted(context.characters[:, 1], first, side="right"))
    end = int(np.searchsorted(context.characters[:, 0], stop, side="left")) - 1
    return (begin, end) if begin <= end else None


def _answer(example: Question, context: Located) -> tuple[int, int] | None:
    if example.impossible or not example.answers:
        return None
    text, start = example.answers[0].text, example.answers[0].start
    if start < 0 or not text.strip() or not example.context.startswith(text, start):
        return None
    return covering(context, start + len(text) - len(text.lstrip()), start + len(text.rstrip()))
