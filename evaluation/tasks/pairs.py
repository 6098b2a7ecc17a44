"""The task `pairs`: how often each model prefers the acceptable sentence of a minimal pair."""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.batched import Watch
from evaluation.blocks import Blocks
from evaluation.figures import GRAY, blank, color, legend_below, short
from evaluation.likelihood import Options, left_to_right
from evaluation.minimal_pairs import Items, common_items, score_sentences
from evaluation.ngrams import ngram_score
from evaluation.paired import mcnemar
from evaluation.passes import Subject
from evaluation.preferences import (
    Accuracy,
    accuracies,
    accuracy,
    mean_accuracy,
    preferences,
    preferences_per_token,
    ties,
)
from evaluation.pseudo import word_left_to_right
from evaluation.scores import Score
from evaluation.tables import markdown
from evaluation.task import Entry, Found, Settings, counted, watching

LIKELIHOOD, PSEUDO = "likelihood", "PLL-word-l2r"

CHANCE = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class Verdict:
    """What a model prefers under one scorer."""

    model: str
    label: str  # the model, where there is little room
    score: Score

    @property
    def scorer(self) -> str:
        return LIKELIHOOD if self.score.normalised else PSEUDO

    @functools.cached_property
    def outcome(self) -> Float64[np.ndarray, " pairs"]:
        return preferences(self.score)


def pairs(entries: Sequence[Entry], settings: Settings) -> Found:
    """Accuracies by the likelihood that every model has, and by the score that each is used with at home."""
    assert settings.pairs is not None, "evaluate.py asks for it"
    items = common_items(settings.pairs, [entry.checkpoint for entry in entries])
    labels = short([entry.name for entry in entries])
    common, home, pseudo, random = [], [], [], []
    for entry, blocks, label in zip(entries, items.blocks, labels, strict=True):
        subject, name = entry.checkpoint.subject, entry.name
        common.append(Verdict(name, label, _likelihood(subject, blocks, settings, name)))
        home.append(common[-1])
        if subject.any_order:
            home[-1] = Verdict(name, label, _pseudo(subject, blocks, settings, name))
            pseudo.append(home[-1])
        floor = _likelihood(entry.checkpoint.untrained(), blocks, settings, f"{name}, random weights")
        random.append(Verdict(f"{name}, random weights", f"{label}, random weights", floor))
    ngrams = _ngrams(entries, items, labels)
    everyone = [*common, *random, *ngrams]
    tables = [_description(entries, items), _overall(everyone, pseudo, items)]
    tables += [_by_phenomenon(verdicts, items) for verdicts in (everyone, pseudo) if verdicts]
    tables += [_differences(verdicts) for verdicts in ([common, home] if pseudo else [common]) if len(verdicts) > 1]
    values = {
        "pairs": len(items.pairs),
        "left_out": {entry.name: count for entry, count in zip(entries, items.left_out, strict=True)},
        "scores": [_values(verdict, items) for verdict in (*everyone, *pseudo)],
        "differences": _difference_values(common),
        "home_differences": _difference_values(home) if pseudo else [],
    }
    figure = _figure([*common, *ngrams[1::2]], home if pseudo else [], items, labels)
    return Found(tuple(tables), values, {"pairs": figure})


def _likelihood(subject: Subject, blocks: Blocks, settings: Settings, name: str) -> Score:
    return _asked(left_to_right, subject, blocks, settings, f"{name}, likelihood of pairs")


def _pseudo(subject: Subject, blocks: Blocks, settings: Settings, name: str) -> Score:
    return _asked(word_left_to_right, subject, blocks, settings, f"{name}, {PSEUDO} of pairs")


def _asked(
    ask: Callable[[Subject, Blocks, Options, Watch], Score],
    subject: Subject,
    blocks: Blocks,
    settings: Settings,
    label: str,
) -> Score:
    """A score of which every position is asked: a sample would decide pairs by its own noise."""

    def scorer(group: Blocks, watch: Watch) -> Score:
        return ask(subject, group, Options(settings.kappas[0], batch=settings.batch(subject, group.length)), watch)

    with watching(label) as watch:
        return score_sentences(scorer, blocks, watch)


def _ngrams(entries: Sequence[Entry], items: Items, labels: Sequence[str]) -> list[Verdict]:
    """Unigrams and 5-grams, in turn, of the training text with the tokens of each tokenizer."""
    verdicts = []
    for name, entry, ngrams in counted(entries):
        at, whose = list(entries).index(entry), name.removeprefix("n-grams")
        score = score_sentences(lambda group, _, ngrams=ngrams: ngram_score(ngrams, group), items.blocks[at])
        label = f"{score.name}{whose.replace(entry.name, labels[at])}"
        verdicts.append(Verdict(f"{score.name}{whose}", label, score))
    return verdicts


def _description(entries: Sequence[Entry], items: Items) -> str:
    said = (
        f"{len(items.pairs):,} minimal pairs of {len(set(items.paradigms)):,} paradigms in "
        f"{len(set(items.phenomena)):,} phenomena; accuracies in %, ± their standard error over pairs"
    )
    missing = [f"{entry.name} cannot spell {n:,}" for entry, n in zip(entries, items.left_out, strict=True) if n]
    return said + (f". Left out for all: {', '.join(missing)}." if missing else ".")


def _overall(everyone: Sequence[Verdict], pseudo: Sequence[Verdict], items: Items) -> str:
    """One line a model, a column a scorer; where paradigms differ in size, their mean beside the mean over pairs."""
    by_name = {verdict.model: verdict for verdict in pseudo}
    scorers = [LIKELIHOOD, PSEUDO] if pseudo else [LIKELIHOOD]
    columns = [f"accuracy by {scorer}" for scorer in scorers]
    head = ["model", "likelihood"] + [name for c in columns for name in ([c] if items.even else [c, "its paradigms"])]
    absent = ["not asked"] if items.even else ["not asked", "-"]
    lines = []
    for verdict in everyone:
        line = [verdict.model, verdict.score.name, *_cells(verdict, items)]
        if pseudo:
            line += _cells(by_name[verdict.model], items) if verdict.model in by_name else absent
        lines.append(line)
    chance = ["chance", "-", *[f"{100 * CHANCE:.1f}"] * (len(head) - 2)]
    return markdown(head, [*lines, chance], left=("model", "likelihood"))


def _cells(verdict: Verdict, items: Items) -> list[str]:
    found = [accuracy(verdict.outcome)]
    if not items.even:
        found.append(mean_accuracy(list(accuracies(verdict.outcome, items.paradigms).values())))
    return [_percent(each) for each in found]


def _by_phenomenon(verdicts: Sequence[Verdict], items: Items) -> str:
    """One line a phenomenon, a column a model, all by the same scorer."""
    counts = collections.Counter(items.phenomena)
    columns = [accuracies(verdict.outcome, items.phenomena) for verdict in verdicts]
    head = [f"accuracy by {verdicts[0].scorer}", "pairs", *(verdict.label for verdict in verdicts)]
    lines = [[kind, f"{counts[kind]:,}", *(_percent(column[kind]) for column in columns)] for kind in sorted(counts)]
    return markdown(head, lines, left=head[:1])


def _differences(verdicts: Sequence[Verdict]) -> str:
    """McNemar's test for every two checkpoints; each line says by which scorers."""
    lines = []
    for one, other in itertools.combinations(verdicts, 2):
        found = mcnemar(one.outcome, other.outcome)
        line = [one.model, one.scorer, other.model, other.scorer]
        line += [f"{100 * found.difference:+.1f} ± {100 * found.error:.1f}", f"{found.first:,}", f"{found.second:,}"]
        lines.append([*line, f"{found.p:.2g}"])
    head = ["model", "by", "minus", "by", "accuracy", "first better", "second better", "McNemar's p"]
    return markdown(head, lines, left=("model", "by", "minus"))


def _difference_values(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    return [
        {"model": one.model, "scorer": one.scorer, "minus": other.model, "minus_scorer": other.scorer}
        | dataclasses.asdict(mcnemar(one.outcome, other.outcome))
        for one, other in itertools.combinations(verdicts, 2)
    ]


def _values(verdict: Verdict, items: Items) -> dict[str, Any]:
    """What is in the tables, and by the mean over a sentence's tokens instead of their sum."""
    paradigms = accuracies(verdict.outcome, items.paradigms)
    found = {
        "accuracy": accuracy(verdict.outcome),
        "mean_of_paradigms": mean_accuracy(list(paradigms.values())),
        "accuracy_per_token": accuracy(preferences_per_token(verdict.score)),
    }
    kinds = {"phenomena": accuracies(verdict.outcome, items.phenomena), "paradigms": paradigms}
    return {
        "model": verdict.model,
        "score": verdict.score.name,
        "normalised": verdict.score.normalised,
        "context": verdict.score.context,
        "passes": verdict.score.passes,
        "flops": verdict.score.flops,
        "leaked": verdict.score.leaked,
        "ties": ties(verdict.outcome),
        **{name: dataclasses.asdict(each) for name, each in found.items()},
        **{name: {k: dataclasses.asdict(each) for k, each in own.items()} for name, own in kinds.items()},
    }


def _percent(found: Accuracy) -> str:
    return f"{100 * found.value:.1f} ± {100 * found.error:.1f}"


def _figure(common: Sequence[Verdict], home: Sequence[Verdict], items: Items, labels: Sequence[str]) -> Figure:
    """Accuracy by phenomenon: by the likelihood, and beside it by what each model is used with, where that differs."""
    kinds = sorted(set(items.phenomena))
    panels = [common, home] if home else [common]
    figure = blank(1, len(panels), height=1.6 + 0.34 * len(kinds), sharey=True)
    for axes, verdicts, whose in zip(figure.axes, panels, ("", "home scorer: "), strict=False):
        _panel(axes, verdicts, items, labels, slots=len(common))
        axes.set_title(f"by {whose}{' or '.join(dict.fromkeys(each.scorer for each in verdicts))}", fontsize=10)
    figure.axes[0].set_yticks(range(len(kinds) + 1), ["all pairs", *(kind.replace("_", " ") for kind in kinds)])
    figure.axes[0].set_ylim(len(kinds) + 0.5, -0.5)
    legend_below(figure, figure.axes[0])
    return figure


def _panel(axes: Axes, verdicts: Sequence[Verdict], items: Items, labels: Sequence[str], slots: int) -> None:
    """A line of points a model, each with its standard error; models stand at the same height in every panel."""
    for slot, verdict in enumerate(verdicts):
        own = [accuracy(verdict.outcome), *accuracies(verdict.outcome, items.phenomena).values()]
        checkpoint = verdict.label in labels
        axes.errorbar(
            [100 * each.value for each in own],
            np.arange(len(own)) + 0.7 * ((slot + 0.5) / slots - 0.5),
            xerr=[100 * each.error for each in own],
            fmt="o" if checkpoint else "D",
            markersize=4,
            linewidth=1.2,
            color=color(list(labels).index(verdict.label)) if checkpoint else GRAY,
            label=verdict.label,
        )
    axes.axvline(100 * CHANCE, color=GRAY, linestyle="--", linewidth=1)
    axes.axhline(0.5, color="#000000", linewidth=0.6)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
    axes.set_xlabel("accuracy, % (dashed: chance)")
