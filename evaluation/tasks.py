"""The tasks of evaluate.py: what is asked of every checkpoint, and the tables that it makes."""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from batch import InputError
from evaluation.blocks import Blocks, cut
from evaluation.checkpoints import Checkpoint, Text
from evaluation.likelihood import Options, Watch, any_order, carried, left_to_right
from evaluation.ngrams import count_ngrams, ngram_score
from evaluation.orders import consistency
from evaluation.passes import Subject
from evaluation.pseudo import pseudo_log_likelihood, word_left_to_right
from evaluation.statistics import difference
from evaluation.tables import Row, difference_table, estimate_values, order_table, score_table, score_values
from training.metrics import json_value
from training.progress import Progress

LOGITS = 1 << 27
"""Numbers that the logits of one pass may have."""

TOO_MANY_UNKNOWN = 0.01
"""Share of the tokens: text of which a vocabulary cannot spell more is another text."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the tasks ask."""

    length: int
    kappas: tuple[int | None, ...] = (None,)
    positions: int = 0
    orders: int = 0

    def __post_init__(self):
        for kappa in self.kappas:
            Options(kappa=kappa, positions=self.positions)  # refuses what cannot be asked, before anything is
        if self.orders == 1:
            raise InputError("--orders=1: one order has no spread; draw at least 2, or 0 for none.")

    def options(self, subject: Subject, kappa: int | None = None) -> Options:
        batch = LOGITS // (self.length * subject.vocab.size)
        return Options(kappa=kappa, positions=self.positions, batch=min(max(batch, 1), 64))


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """A checkpoint and its text in blocks."""

    checkpoint: Checkpoint
    text: Text
    blocks: Blocks

    @property
    def name(self) -> str:
        return self.checkpoint.name

    @property
    def lossless(self) -> bool:
        return self.checkpoint.tokenizer.lossless

    def row(self, score: Any, name: str | None = None) -> Row:
        return Row(name or self.name, score, self.lossless)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a task prints and what it leaves in eval.json."""

    tables: tuple[str, ...]
    values: dict[str, Any]


def entries(checkpoints: Sequence[Checkpoint], texts: Sequence[Text], length: int) -> list[Entry]:
    """Every checkpoint with its blocks. Raises InputError where a vocabulary cannot spell the text."""
    found = []
    for checkpoint, text in zip(checkpoints, texts, strict=True):
        blocks = cut(text.tokens, checkpoint.tokenizer.vocab, length)
        total = int((blocks.source >= 0).sum())
        if blocks.unknown > TOO_MANY_UNKNOWN * total:
            raise InputError(
                f"--workdir={checkpoint.workdir}: its vocabulary cannot spell {blocks.unknown:,} of the text's "
                f"{total:,} tokens; give --text in a language that it knows, or leave it out."
            )
        found.append(Entry(checkpoint, text, blocks))
    return found


def likelihood(entries: Sequence[Entry], settings: Settings) -> Found:
    """Exact likelihoods in reading order beside their baselines, their differences, and random orders."""
    rows, headlines, orders = [], [], []
    for entry in entries:
        subject = entry.checkpoint.subject
        own = _in_reading_order(entry, subject, settings)
        if subject.one_pass and not subject.backward and entry.checkpoint.experiment.model.memory_length:
            blocks = cut(entry.text.tokens, subject.vocab, settings.length, carried=True)
            with watching(f"{entry.name}, memory carried") as watch:
                own.append(entry.row(carried(subject, blocks, settings.options(subject), watch)))
        headlines.append(own[0])
        rows += own
        if subject.any_order and settings.orders > 1:
            with watching(f"{entry.name}, {settings.orders} random orders") as watch:
                options = settings.options(subject, settings.kappas[0])
                scores = any_order(subject, entry.blocks, settings.orders, options, watch)
            orders.append((entry, consistency(scores, entry.blocks.num_blocks)))
    for entry in entries:
        kappa = dataclasses.replace(settings, kappas=settings.kappas[:1])
        rows += _in_reading_order(entry, entry.checkpoint.untrained(), kappa, name=f"{entry.name}, random weights")
    rows += _baselines(entries, settings)
    pairs = [
        (one.model, other.model, found)
        for one, other in itertools.combinations(headlines, 2)
        if one.lossless and other.lossless and (found := difference(one.score, other.score)) is not None
    ]
    measured = [(entry.name, found) for entry, found in orders if entry.lossless]
    tables = [score_table(rows)]
    tables += [difference_table(pairs)] if pairs else []
    tables += [order_table(measured)] if measured else []
    values = {
        "scores": [score_values(row) for row in rows],
        "differences": [{"model": a, "minus": b, **estimate_values(d), "z": json_value(d.z)} for a, b, d in pairs],
        "orders": [
            {"model": name, **{key: json_value(value) for key, value in dataclasses.asdict(found).items()}}
            for name, found in measured
        ],
    }
    return Found(tuple(tables), values)


def pseudo(entries: Sequence[Entry], settings: Settings) -> Found:
    """Pseudo-log-likelihoods of the models that see both sides; no column of theirs holds a likelihood."""
    rows = []
    for entry in entries:
        subject = entry.checkpoint.subject
        if subject.any_order:
            for scorer in (pseudo_log_likelihood, word_left_to_right):
                with watching(f"{entry.name}, {scorer.__name__.replace('_', ' ')}") as watch:
                    rows.append(entry.row(scorer(subject, entry.blocks, settings.options(subject), watch)))
    tables = (score_table(rows),) if rows else ("No checkpoint sees both sides of a token: there is nothing to score.",)
    return Found(tables, {"scores": [score_values(row) for row in rows]})


TASKS: dict[str, Callable[[Sequence[Entry], Settings], Found]] = {"likelihood": likelihood, "pseudo": pseudo}


def check_tasks(names: Sequence[str]) -> None:
    """Raises InputError on a task that does not exist."""
    for name in names:
        if name not in TASKS:
            raise InputError(f"--tasks={name}: no such task; there are {', '.join(TASKS)}.")


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


def _in_reading_order(entry: Entry, subject: Subject, settings: Settings, name: str | None = None) -> list[Row]:
    """One score, or for a masked model one for each kappa."""
    rows = []
    for kappa in settings.kappas[:1] if subject.one_pass else settings.kappas:
        with watching(f"{name or entry.name}, likelihood") as watch:
            score = left_to_right(subject, entry.blocks, settings.options(subject, kappa), watch)
        rows.append(entry.row(score, name))
    return rows


def _baselines(entries: Sequence[Entry], settings: Settings) -> list[Row]:
    """Unigrams and 5-grams of the training text, once a tokenizer."""
    by_tokenizer = {entry.checkpoint.tokenizer.digest: entry for entry in reversed(entries) if entry.text.train}
    rows = []
    for entry in reversed(by_tokenizer.values()):
        assert entry.text.train is not None, "chosen above"
        name = "n-grams" if len(by_tokenizer) == 1 else f"n-grams, tokens of {entry.name}"
        for order in (1, 5):
            counts = count_ngrams(entry.text.train, entry.checkpoint.subject.vocab, order, settings.length)
            rows.append(entry.row(ngram_score(counts, entry.blocks), name))
    return rows
