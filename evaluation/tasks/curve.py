"""The task `curve`: how many bits a token takes when c others are visible, and how often each model was asked that."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from batch import InputError
from data.sources import Source, is_source, open_source
from evaluation.blocks import Blocks, cut
from evaluation.curve import (
    KINDS,
    LEFT,
    RANDOM,
    Answers,
    Line,
    Questions,
    answers,
    draw_questions,
    drawn_blocks,
    estimates,
    ngram_answers,
)
from evaluation.curve_figure import draw
from evaluation.mass import training_mass
from evaluation.optimum import optimal_answers
from evaluation.statistics import Estimate
from evaluation.tables import estimate_values, markdown
from evaluation.task import Entry, Found, Settings, watching

Differences = list[tuple[str, str, dict[tuple[str, int], Estimate]]]


def curve(entries: Sequence[Entry], settings: Settings) -> Found:
    """A table, differences, training mass and a figure for each tokenizer: the tokens of two cannot be compared."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.checkpoint.tokenizer.digest, []).append(entry)
    tables, values, figures = [], [], {}
    for number, group in enumerate(groups.values(), 1):
        source = _source(group)
        blocks = drawn_blocks(_blocks(group[0], source), settings.items)
        questions = draw_questions(blocks, settings.items)
        models = [_of_checkpoint(entry, blocks, questions, settings) for entry in group]
        baselines = _baselines(group[0], blocks, questions, source)
        untrained = [_of_random_weights(entry, blocks, questions, settings) for entry in group]
        differences = [
            (one.name, other.name, estimates(questions, blocks, one.answers.bits - other.answers.bits))
            for one, other in itertools.combinations(models, 2)
        ]
        tables += _tables([*models, *baselines, *untrained], differences, questions, blocks)
        values.append(_values([*models, *baselines, *untrained], differences, questions, blocks))
        name = "curve" if len(groups) == 1 else f"curve-{number}"
        if any(line.points for line in models):
            figures[name] = draw([*models, *baselines], blocks.length - 1)
    if len(groups) > 1:
        tables.insert(0, "The checkpoints differ in tokenizers: bits per token of one table say nothing of another's.")
    return Found(tuple(tables), {"by_tokenizer": values}, figures)


def _source(group: Sequence[Entry]) -> Source | None:
    """The source that all of the checkpoints' text was drawn from, where it is known."""
    corpora = {entry.checkpoint.experiment.data.corpus for entry in group if entry.checkpoint.is_trained}
    corpus = corpora.pop() if len(corpora) == 1 else ""
    return open_source(corpus) if is_source(corpus) else None


def _blocks(entry: Entry, source: Source | None) -> Blocks:
    """The text in blocks; those of a known source are no longer than its documents, whose newline is no symbol."""
    if source is None or source.length >= entry.length - 1:
        return entry.blocks
    return cut(entry.text.tokens, entry.checkpoint.subject.vocab, source.length + 1)


def _of_checkpoint(entry: Entry, blocks: Blocks, questions: Questions, settings: Settings) -> Line:
    with watching(f"{entry.name}, curve") as watch:
        subject = entry.checkpoint.subject
        found = answers(subject, blocks, questions, settings.batch(subject), watch)
    return Line(
        entry.name, found, estimates(questions, blocks, found.bits), is_baseline=False, mass=_mass(entry, blocks)
    )


def _mass(entry: Entry, blocks: Blocks) -> Float64[np.ndarray, " n"] | None:
    """None, with a sentence, where the objective cannot be asked in rows of this length."""
    try:
        return training_mass(entry.checkpoint.subject.objective, entry.checkpoint.subject.vocab, blocks)
    except InputError as error:
        print(f"no training mass of {entry.name} in rows of {blocks.length} tokens: {error}")
        return None


def _of_random_weights(entry: Entry, blocks: Blocks, questions: Questions, settings: Settings) -> Line:
    """Asked at both ends and in the middle: there is nothing to see between them."""
    subject, counts = entry.checkpoint.untrained(), questions.counts
    name = f"{entry.name}, random weights"
    few = np.isin(questions.count, [counts[0], counts[len(counts) // 2], counts[-1]])
    with watching(f"{name}, curve") as watch:
        found = answers(subject, blocks, questions.where(few), settings.batch(subject), watch)
    bits, leaked = np.full((2, len(few)), np.nan)
    bits[few], leaked[few] = found.bits, found.leaked
    return Line(name, Answers(bits, leaked), estimates(questions, blocks, bits))


def _baselines(entry: Entry, blocks: Blocks, questions: Questions, source: Source | None) -> list[Line]:
    """Unigrams, 5-grams and, where the source is known, the best that can be done."""
    lines = []
    for ngrams in entry.ngrams:
        lines.append((ngrams.name, ngram_answers(ngrams, blocks, questions)))
    if source is not None:
        tokenizer, tokens = entry.checkpoint.tokenizer, entry.text.tokens
        lines.append(("optimum", optimal_answers(source, tokenizer, tokens, blocks, questions)))
    return [Line(name, found, estimates(questions, blocks, found.bits)) for name, found in lines if found is not None]


def _tables(lines: Sequence[Line], differences: Differences, questions: Questions, blocks: Blocks) -> list[str]:
    """Bits by kind and c, their differences, and the training mass."""
    counts, size = questions.counts, blocks.length - 1
    head = [f"c={count}" for count in counts]
    rows = [
        [kind, line.name, *_cells(line.points, kind, counts, ".2f"), f"{_leaked(line.answers, questions, kind):.1e}"]
        for kind in KINDS
        for line in lines
        if kind in line.kinds
    ]
    asked = {kind: int((questions.of(kind) & (questions.count == 0)).sum()) for kind in KINDS}
    fewer = f", {asked[LEFT]:,} where {LEFT}" if asked[LEFT] < asked[RANDOM] else ""
    told = [
        f"Bits per token given c visible tokens of n = {size}, in {blocks.num_blocks:,} blocks of "
        f"{blocks.num_documents:,} documents; {asked[RANDOM]:,} questions a cell{fewer}, the same for all models. ± is "
        "half of the widest 95% interval of the row."
    ]
    told += [
        f"Not asked: {line.name}, {' and '.join(kind for kind in KINDS if kind not in line.kinds)}, for it sees one "
        "side of a token."
        for line in lines
        if not line.is_baseline and len(line.kinds) < len(KINDS)
    ]
    tables = [
        "\n".join(told),
        markdown(["visible", "model", *head, "±", "leaked"], rows, left=("visible", "model")),
    ]
    compared = [
        [kind, one, other, *_cells(points, kind, counts, "+.2f")]
        for kind in KINDS
        for one, other, points in differences
        if (kind, counts[0]) in points
    ]
    if compared:
        columns = ["visible", "model", "minus", *head, "±"]
        tables.append(markdown(columns, compared, left=("visible", "model", "minus")))
    masses = [[line.name, *_mass_cells(line.mass)] for line in lines if line.mass is not None]
    if masses:
        columns = ["training targets of", "mean c", "middle 95%", "c = 0", f"c = {size - 1}"]
        tables.append(markdown(columns, masses, left=("training targets of",)))
    return tables


def _cells(points: Mapping[tuple[str, int], Estimate], kind: str, counts: Sequence[int], form: str) -> list[str]:
    """A row's means, and half of its widest interval."""
    own = [points.get((kind, count)) for count in counts]
    widest = max((found.high - found.low) / 2 for found in own if found is not None)
    return [*("-" if found is None else f"{found.value:{form}}" for found in own), f"{widest:.2f}"]


def _leaked(found: Answers, questions: Questions, kind: str) -> float:
    return float(np.nanmean(found.leaked[questions.of(kind)]))


def _mass_cells(mass: Float64[np.ndarray, " n"]) -> list[str]:
    """Where an objective's targets are."""
    below = np.cumsum(mass)
    low, high = np.searchsorted(below, [0.025, 0.975])
    mean = float(mass @ np.arange(len(mass)))
    return [f"{mean:.1f}", f"{low} to {high}", f"{mass[0]:.1%}", f"{mass[-1]:.1%}"]


def _values(lines: Sequence[Line], differences: Differences, questions: Questions, blocks: Blocks) -> dict[str, Any]:
    """The same as JSON values."""
    points = lambda found: [  # noqa: E731
        {"visible": kind, "c": count, **estimate_values(one)} for (kind, count), one in found.items()
    ]
    return {
        "tokens": blocks.length - 1,
        "blocks": blocks.num_blocks,
        "documents": blocks.num_documents,
        "curves": [
            {
                "model": line.name,
                "bits_per_token": points(line.points),
                "leaked": {kind: _leaked(line.answers, questions, kind) for kind in line.kinds},
            }
            for line in lines
        ],
        "differences": [{"model": a, "minus": b, "bits_per_token": points(found)} for a, b, found in differences],
        "training_mass": {line.name: line.mass.tolist() for line in lines if line.mass is not None},
    }
