"""What a task of evaluate.py is: what it is asked with, what it is asked about, and what it finds."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from batch import InputError
from data.shards import Tokens
from evaluation.batched import Watch
from evaluation.blocks import Blocks, cut
from evaluation.checkpoints import Checkpoint, Text, training_text
from evaluation.likelihood import Options
from evaluation.ngrams import Ngrams, count_ngrams
from evaluation.passes import Subject
from evaluation.spelling import check_spelling
from evaluation.tables import Row
from training.progress import Progress

LOGITS = 1 << 27
"""Of one pass at most. They are not there at once (`passes`), but what is grows with them."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the tasks ask."""

    length: int
    kappas: tuple[int | None, ...] = (None,)
    positions: int = 0
    orders: int = 0
    items: int = 256
    pairs: str | None = None
    probe: str | None = None

    def __post_init__(self):
        for kappa in self.kappas:
            Options(kappa=kappa, positions=self.positions)  # refuses what cannot be asked, before anything is
        if self.orders == 1:
            raise InputError("--orders=1: one order has no spread; draw at least 2, or 0 for none.")

    def options(self, subject: Subject, kappa: int | None = None, *, positions: int | None = None) -> Options:
        """How a subject is asked: in passes that its memory holds."""
        asked = self.positions if positions is None else positions
        return Options(kappa=kappa, positions=asked, batch=self.batch(subject))

    def batch(self, subject: Subject, length: int | None = None) -> int:
        """Rows of a pass whose logits may be those of every token."""
        return min(max(LOGITS // ((length or self.length) * subject.vocab.size), 1), 64)


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """A checkpoint and the text that it is asked about; without one, for tasks that bring their own."""

    checkpoint: Checkpoint
    given: Text | None
    length: int

    @property
    def name(self) -> str:
        return self.checkpoint.name

    @property
    def lossless(self) -> bool:
        return self.checkpoint.tokenizer.lossless

    @property
    def text(self) -> Text:
        assert self.given is not None, "asked by a task that reads no text"
        return self.given

    @functools.cached_property
    def spelled(self) -> bytes:
        """The bytes of the text, as its tokens spell it; of a lossy tokenizer there are none."""
        pieces = self.checkpoint.tokenizer.pieces
        return b"".join([pieces[i] for i in self.text.tokens.tokens.tolist()])

    @functools.cached_property
    def train(self) -> Tokens | None:
        """The training text, which baselines count; None where it is gone."""
        return training_text(self.checkpoint, print) if self.given is None else self.given.train

    @functools.cached_property
    def ngrams(self) -> tuple[Ngrams, ...]:
        """Unigrams and 5-grams of the training text, counted once for all tasks; none where it is gone."""
        train, vocab = self.train, self.checkpoint.subject.vocab
        return () if train is None else tuple(count_ngrams(train, vocab, order, self.length) for order in (1, 5))

    @functools.cached_property
    def blocks(self) -> Blocks:
        """The text in blocks. Raises InputError where the vocabulary cannot spell it."""
        check_spelling(self.name, self.text.tokens, self.checkpoint.tokenizer)
        return cut(self.text.tokens, self.checkpoint.tokenizer.vocab, self.length)

    def row(self, score: Any, name: str | None = None) -> Row:
        return Row(name or self.name, score, self.lossless)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a task prints, what it leaves in eval.json, and its pictures by name."""

    tables: tuple[str, ...]
    values: dict[str, Any]
    figures: Mapping[str, Figure] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Task:
    """A task, and whether it reads the held-out text."""

    ask: Callable[[Sequence[Entry], Settings], Found]
    reads_text: bool = True


def counted(entries: Sequence[Entry]) -> list[tuple[str, Entry, Ngrams]]:
    """The n-grams of each tokenizer whose training text is there: their name, an entry with these tokens, and they."""
    first: dict[str, Entry] = {}
    for entry in entries:
        if entry.checkpoint.tokenizer.digest not in first and entry.train is not None:
            first[entry.checkpoint.tokenizer.digest] = entry
    name = lambda entry: "n-grams" if len(first) == 1 else f"n-grams, tokens of {entry.name}"  # noqa: E731
    return [(name(entry), entry, ngrams) for entry in first.values() for ngrams in entry.ngrams]


@contextlib.contextmanager
def watching(label: str) -> Iterator[Watch]:
    """A watch that shows progress once it is known how long the work is."""
    with contextlib.ExitStack() as stack:
        shown: list[Progress] = []

        def watch(done: int, total: int) -> None:
            if not shown:
                shown.append(stack.enter_context(Progress(total, label)))
            shown[0].update(done)

        yield watch
