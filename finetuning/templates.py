"""How each family of models takes one text or more: one template a family, the only place that knows.

BERT reads [CLS] A [SEP] B [SEP] (Devlin et al. 2019), GPT A sep B end (Radford et al. 2018), XLNet A [SEP] B [SEP]
[CLS] (Yang et al. 2019). Where the summary stands is told by the row, so that no code of tasks reads h[:, 0].
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int

from batch import InputError, Vocab
from models import BertConfig, GptConfig, ModelConfig, XlnetConfig

Special = Literal["cls", "sep", "end"]
INSTEAD: dict[Special, tuple[Special, ...]] = {"cls": (), "sep": ("end",), "end": ("sep",)}
"""What stands for a special that a vocabulary lacks: GPT-2's has its end alone."""


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """One example as a model reads it, before it is padded."""

    tokens: Int[np.ndarray, " T"]
    segments: Int[np.ndarray, " T"]
    source: Int[np.ndarray, " T"]  # which piece of its text a token is, counted from 0; -1 for specials
    summary: int  # the index at which the row as a whole is read
    document: Int[np.ndarray, " T"] | int = 1  # as in a batch; choices that stand side by side have one each


@dataclasses.dataclass(frozen=True)
class Template:
    """Specials around texts, the side of the padding, and where the summary stands."""

    before: tuple[Special, ...]  # in the first segment
    between: tuple[Special, ...]  # in the segment of the text before them
    after: tuple[Special, ...]  # in the segment of the last text
    summary: Literal["first", "last"]
    pad: Literal["left", "right"]
    own_segment: bool = False  # the summary has a segment of its own: 2, or the number of texts where they are more
    pooled: bool = True  # tanh(V h + c) lies between the summary and its scores
    word: Literal["first", "last"] = "first"  # the piece at which a word is read
    question: Literal["first", "last"] = "first"  # whether a question stands before its context

    def row(self, texts: Sequence[Int[np.ndarray, " _"]], length: int, vocab: Vocab) -> Row:
        """The row of an example whose texts are given as pieces, cut to `length` tokens.

        While it is too long, the longest text loses its last piece, of equals the later one. Raises InputError where
        the vocabulary lacks a special, or the specials alone fill the row.
        """
        room = length - self.specials(len(texts))
        if room < len(texts):
            raise InputError(
                f"data.length={length}: {len(texts)} texts and the special tokens around them need at least "
                f"{length - room + len(texts)}; make rows longer."
            )
        kept = lengths_within([len(text) for text in texts], room)
        tokens: list[int] = []
        segments: list[int] = []
        source: list[int] = []

        def put(pieces: Sequence[int], segment: int, numbers: Sequence[int] | None = None) -> None:
            tokens.extend(pieces)
            segments.extend([segment] * len(pieces))
            source.extend([-1] * len(pieces) if numbers is None else numbers)

        put([special(vocab, name) for name in self.before], 0)
        for number, (text, count) in enumerate(zip(texts, kept, strict=True)):
            put(text[:count].tolist(), number, range(count))
            last = number == len(texts) - 1
            put([special(vocab, name) for name in (self.after if last else self.between)], number)
        summary = 0 if self.summary == "first" else len(tokens) - 1
        if self.own_segment:
            segments[summary] = max(2, len(texts))
        return Row(np.array(tokens, np.int32), np.array(segments, np.int32), np.array(source, np.int32), summary)

    def specials(self, texts: int) -> int:
        """Tokens around and between so many texts."""
        return len(self.before) + (texts - 1) * len(self.between) + len(self.after)

    def segments(self, texts: int) -> int:
        """Segments that so many texts need."""
        return max(2, texts) + 1 if self.own_segment else texts


# From the left, GPT has seen a word at its last piece; the others are read as in their papers.
BERT = Template(("cls",), ("sep",), ("sep",), summary="first", pad="right")
GPT = Template((), ("sep",), ("end",), summary="last", pad="right", pooled=False, word="last")
XLNET = Template((), ("sep",), ("sep", "cls"), summary="last", pad="left", own_segment=True, question="last")

TEMPLATES: dict[type, Template] = {BertConfig: BERT, GptConfig: GPT, XlnetConfig: XLNET}


def template_of(model: ModelConfig) -> Template:
    """The template of a model's family."""
    return TEMPLATES[type(model)]


def lengths_within(lengths: Sequence[int], room: int) -> list[int]:
    """How much of each text is kept, `room` pieces in all: the longest one, of equals the later, is cut by one in turn.

    As in the releases of BERT and of XLNet.
    """
    kept = list(lengths)
    while sum(kept) > room:
        longest = max(kept)
        others = sorted(kept)[:-1]
        spare = longest - (others[-1] if others else 0)  # until it is as long as the next, they are cut at once
        last = len(kept) - 1 - kept[::-1].index(longest)
        kept[last] -= max(1, min(spare, sum(kept) - room))
    return kept


def special(vocab: Vocab, name: Special) -> int:
    """The id of a special, or of what stands for it. Raises InputError where there is neither."""
    for each in (name, *INSTEAD[name]):
        if (found := getattr(vocab, each)) is not None:
            return found
    raise InputError(
        f"vocab.{name}=None: the template of this model needs it, and the tokenizer lacks it; name the workdir of a "
        "model whose tokenizer has it."
    )
