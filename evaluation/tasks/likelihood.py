"""The task `likelihood`: exact bits per byte in reading order, beside what they are to be read with."""

import dataclasses
import itertools
from collections.abc import Sequence

from evaluation.blocks import cut
from evaluation.likelihood import any_order, carried, left_to_right
from evaluation.ngrams import ngram_score
from evaluation.orders import Consistency, consistency
from evaluation.passes import Subject
from evaluation.score_figure import score_figure
from evaluation.statistics import difference
from evaluation.tables import Row, difference_table, estimate_values, order_table, score_table, score_values
from evaluation.task import Entry, Found, Settings, counted, watching
from training.metrics import json_value


def likelihood(entries: Sequence[Entry], settings: Settings) -> Found:
    """Exact likelihoods in reading order beside their baselines, their differences, and random orders."""
    trained = [_of_checkpoint(entry, settings) for entry in entries]
    headlines = [own[0] for own in trained]
    rows = [row for own in trained for row in own]
    orders = [(entry, _in_random_orders(entry, settings)) for entry in entries if settings.orders]
    measured = [(entry.name, found) for entry, found in orders if found is not None and entry.lossless]
    baselines = [row for entry in entries for row in _of_random_weights(entry, settings)]
    baselines += [entry.row(ngram_score(ngrams, entry.blocks), name) for name, entry, ngrams in counted(entries)]
    rows += baselines
    pairs = [
        (one.model, other.model, found)
        for one, other in itertools.combinations(headlines, 2)
        if one.lossless and other.lossless and (found := difference(one.score, other.score)) is not None
    ]
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
    shown = [own for own in trained if own[0].lossless]
    figures = {"likelihood": score_figure(shown, [row for row in baselines if row.lossless])} if shown else {}
    return Found(tuple(tables), values, figures)


def _of_checkpoint(entry: Entry, settings: Settings) -> list[Row]:
    """Its scores in reading order; the last with its memory carried, where it has one."""
    subject = entry.checkpoint.subject
    rows = _in_reading_order(entry, subject, settings)
    if subject.one_pass and not subject.backward and entry.checkpoint.experiment.model.memory_length:
        blocks = cut(entry.text.tokens, subject.vocab, settings.length, carried=True)
        with watching(f"{entry.name}, memory carried") as watch:
            rows.append(entry.row(carried(subject, blocks, settings.options(subject), watch)))
    return rows


def _of_random_weights(entry: Entry, settings: Settings) -> list[Row]:
    kappa = dataclasses.replace(settings, kappas=settings.kappas[:1])
    return _in_reading_order(entry, entry.checkpoint.untrained(), kappa, name=f"{entry.name}, random weights")


def _in_reading_order(entry: Entry, subject: Subject, settings: Settings, name: str | None = None) -> list[Row]:
    """One score, or for a masked model one for each kappa."""
    rows = []
    for kappa in settings.kappas[:1] if subject.one_pass else settings.kappas:
        with watching(f"{name or entry.name}, likelihood") as watch:
            score = left_to_right(subject, entry.blocks, settings.options(subject, kappa), watch)
        rows.append(entry.row(score, name))
    return rows


def _in_random_orders(entry: Entry, settings: Settings) -> Consistency | None:
    """What random orders say of a checkpoint that has them."""
    subject = entry.checkpoint.subject
    if not subject.any_order:
        return None
    with watching(f"{entry.name}, {settings.orders} random orders") as watch:
        options = settings.options(subject, settings.kappas[0])
        scores = any_order(subject, entry.blocks, settings.orders, options, watch)
    return consistency(scores, entry.blocks.num_blocks)
