"""The task `regret`: how far models are from the optimum of a source that is known."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from batch import InputError
from data.sources import Source, is_source, open_source
from evaluation.ngrams import count_ngrams
from evaluation.oracle import Documents, Optimum, documents
from evaluation.regret import ANY, BOTH, LEFT, Losses, Slice, answers, best, counted_answers, losses, own_losses
from evaluation.regret_figure import Row, draw
from evaluation.statistics import Estimate
from evaluation.tables import estimate_values, markdown
from evaluation.task import Entry, Found, Settings, counted, watching
from training.metrics import json_value

Optima = dict[Slice, tuple[Optimum, ...]]
Differences = list[tuple[Slice, str, str, Estimate]]


def regret(entries: Sequence[Entry], settings: Settings) -> Found:
    """Bits a symbol above the optimum: left to right, between both sides, and in random orders."""
    source = known_source(entries)
    asked = documents(source, entries[0].checkpoint.tokenizer, entries[0].blocks, settings.items)
    optima = _optima(asked, entries[0], settings)
    trained = [_of_checkpoint(entry, asked, optima, settings) for entry in entries]
    by_counting = [_of_counts(name, of, n.order, asked, optima, settings) for name, of, n in counted(entries)]
    untrained = [_of_random_weights(entry, asked, optima, settings) for entry in entries]
    itself = Row("optimum", {part: own_losses(found, asked) for part, found in optima.items()})
    differences = _differences(trained)
    rows = [itself, *trained, *by_counting, *untrained]
    tables = [_described(asked, settings), _table(rows, list(optima))]
    tables += [_difference_table(differences)] if differences else []
    values = {
        "source": str(source),
        "documents": len(asked.symbols),
        "symbols": asked.symbols.size,
        "scores": [_values(row, part) for part in optima for row in rows if part in row.losses],
        "differences": [
            {"slice": part, "model": one, "minus": other, "bits_per_symbol": estimate_values(found)}
            for part, one, other, found in differences
        ],
    }
    return Found(tuple(tables), values, {"regret": draw(trained, by_counting, untrained, list(optima))})


def known_source(entries: Sequence[Entry]) -> Source:
    """The source of the text that all checkpoints were trained on, a symbol a token. Raises InputError without one."""
    first = next((entry for entry in entries if entry.checkpoint.is_trained), entries[0])
    for entry in entries:
        data, own = entry.checkpoint.experiment.data, entry is first or entry.checkpoint.is_trained
        if own and not is_source(data.corpus):
            raise InputError(
                f"--workdir={entry.name}: its data.corpus={data.corpus} is no source of which the optimum is known; "
                "train on one, as in --config.data.corpus=markov:symbols=16, or leave regret out of --tasks."
            )
        if data.tokenizer != "bytes":
            raise InputError(
                f"--workdir={entry.name}: its data.tokenizer={data.tokenizer} does not read a symbol a token; train "
                "with --config.data.tokenizer=bytes, or leave regret out of --tasks."
            )
        if own and open_source(data.corpus) != open_source(first.checkpoint.experiment.data.corpus):
            raise InputError(
                f"--workdir={entry.name}: its data.corpus={data.corpus} is another source than that of {first.name}; "
                "compare checkpoints of one source."
            )
    return open_source(first.checkpoint.experiment.data.corpus)


def _optima(asked: Documents, entry: Entry, settings: Settings) -> Optima:
    parts: list[Slice] = [LEFT, BOTH, ANY] if settings.orders else [LEFT, BOTH]
    found: Optima = {}
    for part in parts:
        with watching(f"the optimum, {part}") as watch:
            found[part] = best(asked, part, settings.options(entry.checkpoint.subject), settings.orders, watch)
    return found


def _of_checkpoint(entry: Entry, asked: Documents, optima: Optima, settings: Settings) -> Row:
    subject = entry.checkpoint.subject
    options, row = settings.options(subject, settings.kappas[0]), Row(entry.name, {})
    for part, best_found in optima.items():
        with watching(f"{entry.name}, {part}") as watch:
            found = answers(subject, asked, part, options, settings.orders, watch)
        row.losses[part] = None if found is None else losses(found, best_found, asked)
    return row


def _of_counts(name: str, entry: Entry, order: int, asked: Documents, optima: Optima, settings: Settings) -> Row:
    """N-grams of the training text, counted in letters alone."""
    assert entry.train is not None, "counted"
    ngrams = count_ngrams(entry.train, asked.vocab, order, settings.length)
    row = Row(f"{name}, {ngrams.name}", {})
    for part, best_found in optima.items():
        found = counted_answers(ngrams, asked, part, settings.options(entry.checkpoint.subject))
        if found is not None:
            row.losses[part] = losses(found, best_found, asked)
    return row


def _of_random_weights(entry: Entry, asked: Documents, optima: Optima, settings: Settings) -> Row:
    """From left to right: it gives much the same to all questions."""
    subject, name = entry.checkpoint.untrained(), f"{entry.name}, random weights"
    with watching(f"{name}, {LEFT}") as watch:
        found = answers(subject, asked, LEFT, settings.options(subject, settings.kappas[0]), 0, watch)
    assert found is not None, "every model reads a text"
    return Row(name, {LEFT: losses(found, optima[LEFT], asked)})


def _differences(rows: Sequence[Row]) -> Differences:
    """The regrets of each two checkpoints, document by document, where both were asked."""
    return [
        (part, one.name, other.name, mine.minus(theirs))
        for part in (rows[0].losses if rows else ())
        for one, other in itertools.combinations(rows, 2)
        if (mine := one.losses[part]) is not None and (theirs := other.losses[part]) is not None
    ]


def _described(asked: Documents, settings: Settings) -> str:
    count, size = asked.symbols.shape
    sample = (
        f"; a model that needs a pass for each is asked for {settings.positions} of them" if settings.positions else ""
    )
    return (
        f"{asked.source}: {count:,} documents of {size} symbols{sample}. The regret of the optimum is its loss above "
        "what its posteriors expect, 0 but for the luck of the draw; the others' is theirs above the optimum's."
    )


def _table(rows: Sequence[Row], parts: Sequence[Slice]) -> str:
    """A line for whoever was asked, and for each checkpoint that was not."""
    cells = [[part, row.name, *_cells(row.losses[part])] for part in parts for row in rows if part in row.losses]
    head = ["slice", "model", "bits/symbol", "regret", "95% interval", "leaked"]
    return markdown(head, cells, left=("slice", "model"))


def _cells(found: Losses | None) -> list[str]:
    if found is None:
        return ["not asked", "-", "-", "-"]
    leaked = "-" if math.isnan(found.leaked) else f"{found.leaked:.1e}"
    return [f"{found.bits.value:.4f}", f"{found.regret.value:+.4f}", _interval(found.regret), leaked]


def _difference_table(differences: Differences) -> str:
    cells = [
        [part, one, other, f"{found.value:+.4f}", _interval(found), f"{found.z:+.1f}"]
        for part, one, other, found in differences
    ]
    return markdown(
        ["slice", "model", "minus", "bits/symbol", "95% interval", "z"], cells, left=("slice", "model", "minus")
    )


def _interval(found: Estimate) -> str:
    return "-" if math.isnan(found.low) else f"{found.low:+.4f} to {found.high:+.4f}"


def _values(row: Row, part: Slice) -> dict[str, Any]:
    found = row.losses[part]
    return {
        "slice": part,
        "model": row.name,
        "bits_per_symbol": None if found is None else estimate_values(found.bits),
        "regret": None if found is None else estimate_values(found.regret),
        "leaked": None if found is None else json_value(found.leaked),
    }
