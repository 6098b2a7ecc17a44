"""The task `probe`: how much of a labeling a linear map reads from each layer of a frozen model."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from batch import InputError
from evaluation import probe as probes
from evaluation.features import Spelled, features, sees, spell
from evaluation.figures import GRAY, blank, color, legend_below, short
from evaluation.labels import Labeled, Sentence, read_labels
from evaluation.passes import Subject
from evaluation.probe import Items, Layer
from evaluation.spelling import TOO_MUCH
from evaluation.statistics import Estimate
from evaluation.tables import difference_table, estimate_values, markdown
from evaluation.task import Entry, Found, Settings, watching
from training.metrics import json_value


@dataclasses.dataclass(frozen=True, eq=False)
class Probed:
    """A checkpoint's layers, what they make of the control task, and its layers with random weights."""

    name: str
    sees: str
    layers: tuple[Layer, ...]
    control: tuple[Float64[np.ndarray, " X"], ...]
    random: tuple[Layer, ...]

    @property
    def best(self) -> int:
        return probes.best_layer(self.layers)


def probe(entries: Sequence[Entry], settings: Settings) -> Found:
    """Accuracy of a linear probe at each layer, beside a control task, random weights and majorities."""
    assert settings.probe is not None, "asked for with the task"
    labeled = read_labels(settings.probe)
    chosen = probes.drawn(labeled)
    spelled = [_spelled(entry, labeled, chosen) for entry in entries]
    sizes = np.array([[len(row.tokens) for row in rows] for rows in spelled])
    kept = np.flatnonzero(((sizes > 0) & (sizes < settings.length)).all(axis=0)).tolist()
    items = probes.items_of(labeled, [chosen[i] for i in kept])
    found = [
        _probed(entry, [rows[i] for i in kept], items, settings) for entry, rows in zip(entries, spelled, strict=True)
    ]
    baselines = {"majority": probes.majority(items)}
    if labeled.of_words:
        baselines["majority of the word"] = probes.majority_of_type(items)
    floors = {name: items.accuracy(right) for name, right in baselines.items()}
    pairs = [
        (one.name, other.name, items.accuracy(one.layers[one.best].right - other.layers[other.best].right))
        for one, other in itertools.combinations(found, 2)
    ]
    tables = [_summary(labeled, len(chosen), items, settings.length), _table(found, items, floors)]
    tables += [difference_table(pairs, "accuracy")] if pairs else []
    values = {
        "file": labeled.path,
        "labels_of": labeled.unit,
        "classes": list(items.classes),
        "sentences": {"file": len(labeled.sentences), "drawn": len(chosen), "asked": len(kept)},
        "items": {name: int((items.part == i).sum()) for i, name in enumerate(probes.PARTS)},
        "baselines": {name: estimate_values(accuracy) for name, accuracy in floors.items()},
        "checkpoints": [_values(each, items) for each in found],
        "differences": [{"model": a, "minus": b, **estimate_values(d), "z": json_value(d.z)} for a, b, d in pairs],
    }
    return Found(tuple(tables), values, {"probe": _figure(found, items, floors)})


def _spelled(entry: Entry, labeled: Labeled, sentences: Sequence[Sentence]) -> list[Spelled]:
    """The sentences in the tokens of a checkpoint. Raises InputError where its vocabulary cannot spell them."""
    tokenizer = entry.checkpoint.tokenizer
    rows, special = spell(tokenizer, sentences), tokenizer.vocab.is_special
    total, unknown = sum(len(row.tokens) for row in rows), sum(int(special[row.tokens].sum()) for row in rows)
    if unknown > TOO_MUCH * total:
        size = [len(piece.strip()) for piece in tokenizer.pieces]
        missing = sum(
            max(0, len("".join(each.text.split()).encode()) - sum(size[i] for i in row.tokens.tolist()))
            for each, row in zip(sentences, rows, strict=True)
            if special[row.tokens].any()
        )
        raise InputError(
            f"--probe={labeled.path}: the vocabulary of {entry.name} cannot spell {unknown:,} of its {total:,} tokens, "
            f"about {missing:,} bytes; give text in a language that it knows, or leave the checkpoint out."
        )
    return rows


def _probed(entry: Entry, rows: Sequence[Spelled], items: Items, settings: Settings) -> Probed:
    subject, random = entry.checkpoint.subject, f"{entry.name}, random weights"
    pairs = [_with_control(layer, items) for layer in _layers(entry.name, subject, rows, settings)]
    layers, control = zip(*pairs, strict=True)
    floor = [probes.probe(layer, items) for layer in _layers(random, entry.checkpoint.untrained(), rows, settings)]
    return Probed(entry.name, sees(subject), layers, control, tuple(floor))


def _with_control(layer: Float32[np.ndarray, "I D"], items: Items) -> tuple[Layer, Float64[np.ndarray, " X"]]:
    found = probes.probe(layer, items)
    return found, probes.control(layer, items, found)


def _layers(
    name: str, subject: Subject, rows: Sequence[Spelled], settings: Settings
) -> Iterator[Float32[np.ndarray, "I D"]]:
    """The features of each layer in turn; says how far the probes are."""
    with watching(f"{name}, features") as watch:
        found = features(subject, rows, settings.length, settings.batch(subject), watch)
    with watching(f"{name}, probes") as watch:
        for i, layer in enumerate(found):
            yield layer
            watch(i + 1, len(found))


def _summary(labeled: Labeled, drawn: int, items: Items, length: int) -> str:
    """One line: how much of the file is asked about, and what is left out."""
    counts, asked = np.bincount(items.part, minlength=len(probes.PARTS)), int(items.sentence.max()) + 1
    parts = ", ".join(f"{count:,} to {name}" for count, name in zip(counts, ("train", "choose", "test"), strict=True))
    told = f"{labeled.path}: {asked:,} sentences, {len(items.classes)} labels of {labeled.unit}s ({parts})"
    told += f"; drawn from {len(labeled.sentences):,}" if drawn < len(labeled.sentences) else ""
    return told + (f"; {drawn - asked:,} do not fit into {length} tokens and are left out" if asked < drawn else "")


def _table(found: Sequence[Probed], items: Items, floors: dict[str, Estimate]) -> str:
    rows = []
    for each in found:
        right, control = each.layers[each.best].right, each.control[each.best].mean()
        random = each.random[probes.best_layer(each.random)].right.mean()
        accuracy, chosen = items.accuracy(right), f"{each.best} of {len(each.layers) - 1}"
        numbers = [f"{number:.4f}" for number in (control, accuracy.value - control, random)]
        rows.append([each.name, each.sees, chosen, f"{accuracy.value:.4f}", _interval(accuracy), *numbers])
    rows += [[name, "-", "-", f"{floor.value:.4f}", _interval(floor), "-", "-", "-"] for name, floor in floors.items()]
    head = ["model", "sees", "layer", "accuracy", "95% interval", "control", "selectivity", "random weights"]
    return markdown(head, rows, left=("model", "sees"))


def _interval(found: Estimate, form: str = ".4f") -> str:
    return f"{found.low:{form}} to {found.high:{form}}"


def _values(each: Probed, items: Items) -> dict[str, Any]:
    layers = [
        {
            "layer": i,
            "penalty": layer.penalty,
            "choice_accuracy": layer.choice,
            "accuracy": estimate_values(items.accuracy(layer.right)),
            "control": estimate_values(items.accuracy(control)),
            "selectivity": estimate_values(items.accuracy(layer.right - control)),
            "random_weights": estimate_values(items.accuracy(random.right)),
        }
        for i, (layer, control, random) in enumerate(zip(each.layers, each.control, each.random, strict=True))
    ]
    random = probes.best_layer(each.random)
    return {"model": each.name, "sees": each.sees, "layer": each.best, "random_layer": random, "layers": layers}


def _figure(found: Sequence[Probed], items: Items, floors: dict[str, Estimate]) -> Figure:
    """Accuracy by layer: solid with intervals, the chosen one marked; of random weights dashed, of control dotted."""
    figure = blank(width=7.2, height=4.4)
    (axes,) = figure.axes
    for i, (each, name) in enumerate(zip(found, short([each.name for each in found]), strict=True)):
        index = np.arange(len(each.layers)) + 0.05 * (i - (len(found) - 1) / 2)  # so that intervals stand side by side
        right = [items.accuracy(layer.right) for layer in each.layers]
        values = np.array([accuracy.value for accuracy in right])
        reach = np.abs(np.array([[accuracy.low, accuracy.high] for accuracy in right]).T - values)
        axes.plot(index, values, color=color(i), label=f"{name}, sees {each.sees}")
        axes.errorbar(index, values, reach, fmt="none", capsize=2, ecolor=color(i), elinewidth=1)
        axes.plot(index[each.best], values[each.best], "o", color=color(i))
        axes.plot(index, [layer.right.mean() for layer in each.random], "--", color=color(i), linewidth=1)
        axes.plot(index, [control.mean() for control in each.control], ":", color=color(i), linewidth=1.2)
    for style, name in (("--", "random weights"), (":", "control task")):
        axes.plot([], [], style, color="black", linewidth=1.2, label=name)
    for style, (name, floor) in zip(("-", "-."), floors.items(), strict=False):
        axes.axhline(floor.value, color=GRAY, linestyle=style, linewidth=1.2, label=name)
    axes.set(xlabel="layer (0: embeddings)", ylabel="accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, axes)
    return figure
