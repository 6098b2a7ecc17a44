"""Windows: the pieces of a context that fit into a sequence along with the question (Devlin et al. 2019, run_squad.py).

Each is as long as there is room for, the last one as long as the rest; they overlap, so that an answer that one of
them cuts is whole in another.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from batch import InputError
from finetuning.spans.passages import Passage


@dataclasses.dataclass(frozen=True)
class Cut:
    """How contexts are cut.

    `specials` is how many tokens of a sequence the template adds: three for [CLS] question [SEP] context [SEP].
    `doc_stride` is the step from window to window, as in BERT's release; what Hugging Face calls `stride` is their
    overlap, which is the room for a context less this. A step longer than the room is as long as it: no token is lost.
    """

    length: int  # tokens of a sequence
    specials: int
    doc_stride: int = 128

    def __post_init__(self):
        if self.doc_stride < 1:
            raise InputError(f"doc_stride={self.doc_stride}: windows step by at least 1 token; give a larger one.")

    def room(self, passage: Passage) -> int:
        """Tokens of the context that a window holds. Raises InputError where there would be none."""
        room = self.length - len(passage.question) - self.specials
        if room < 1:
            raise InputError(
                f"length={self.length}: with the {len(passage.question)} tokens of question {passage.example.name} "
                f"and {self.specials} specials it is a sequence with no answer window; give a longer length or a "
                "smaller max_question."
            )
        return room


@dataclasses.dataclass(frozen=True)
class Window:
    """`count` tokens of a context from its token `first` on, and the target among them.

    `target` is the answer's first and last token, counted from the window's first one; None where the window does not
    hold the whole answer, or there is none: the template's null position is then the target of both.
    """

    passage: int  # the index of its question
    first: int
    count: int
    target: tuple[int, int] | None


def windows(passages: Sequence[Passage], cut: Cut) -> list[Window]:
    """All windows of all passages, in their order: what an evaluation reads.

    Each passage has at least one, if only of 0 tokens.
    """
    return [window for i, passage in enumerate(passages) for window in _windows(i, passage, cut)]


def training_windows(passages: Sequence[Passage], cut: Cut, unanswered: bool) -> list[Window]:
    """The windows to train on.

    With `unanswered`, also those without the whole answer, which teach where to find none. A set with questions that
    have no answer (SQuAD 2.0) needs them. BERT's release has them even for SQuAD 1.1, where an evaluation never
    predicts the null position: there they only teach that a window's question may be out of place, and most windows of
    a long context say so. Without, such windows are left out, and so are questions that cannot be answered.

    A question whose answer no token stands for, or whose context does not hold it where it says, is left out either
    way. Raises InputError for a question of which nobody says whether it has an answer.
    """
    for example in (passage.example for passage in passages):
        if not example.answers and not example.impossible:
            raise InputError(
                f"question {example.name}: has no answer and is not said to be impossible; train on a set that is "
                "published with its answers."
            )
    return [
        window
        for i, passage in enumerate(passages)
        if passage.answer is not None or passage.example.impossible
        for window in _windows(i, passage, cut)
        if unanswered or window.target is not None
    ]


def _windows(index: int, passage: Passage, cut: Cut) -> list[Window]:
    room, size = cut.room(passage), len(passage.context.tokens)
    step = min(room, cut.doc_stride)
    steps = -(-max(size - room, 0) // step)  # until the last one reaches the end
    return [
        Window(index, first, min(room, size - first), _target(passage, first, min(room, size - first)))
        for first in range(0, steps * step + 1, step)
    ]


def _target(passage: Passage, first: int, count: int) -> tuple[int, int] | None:
    if passage.answer is None or passage.answer[0] < first or passage.answer[1] >= first + count:
        return None
    return passage.answer[0] - first, passage.answer[1] - first


def fullest(first: Int[np.ndarray, " W"], count: Int[np.ndarray, " W"]) -> Int[np.ndarray, " T"]:
    """For each token of a context, the index of the window that shows most of what surrounds it; -1 where none does.

    Windows hold the tokens from `first` on, `count` of them. The lesser of what is left and right of the token counts,
    and a hundredth of the window's length; of windows with as much, the first (run_squad.py: _check_is_max_context).
    """
    token = np.arange((first + count).max(initial=0))
    left = token[None] - first[:, None]
    right = count[:, None] - 1 - left
    inside = (left >= 0) & (right >= 0)
    shown = np.where(inside, np.minimum(left, right) + 0.01 * count[:, None], -1.0)
    return np.where(inside.any(axis=0), shown.argmax(axis=0), -1)
