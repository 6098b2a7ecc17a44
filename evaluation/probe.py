"""Linear probes of frozen features: what a layer says plainly, and what the probe would have learned anyway.

A probe is a multinomial logistic regression on features that its training part standardizes. Its penalty and the layer
are chosen on a second part, and accuracy is measured on a third. The control task gives each word type a random label
(Hewitt and Liang 2019): a probe that is good at it has learned words by heart. Selectivity is accuracy beyond that.
"""

import collections
import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64, Int

from batch import InputError
from evaluation.labels import Labeled, Sentence
from evaluation.logistic import Axes, axes_of, fit, right
from evaluation.statistics import Estimate, ratio

PARTS = {"train": 0.6, "choice": 0.2, "test": 0.2}
"""Shares of the sentences: what is fitted, what the penalty and the layer are chosen on, what is measured."""

TRAIN, CHOICE, TEST = range(3)

PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Half of it, times the squared weights, is added to the mean loss; of equally good ones the first is taken."""

MOST_SENTENCES, MOST_ITEMS = 4000, 30_000
"""Of a larger file so many sentences are drawn, or as many as have so many labels."""

FEWEST = 10
"""Sentences of a part, at least."""


@dataclasses.dataclass(frozen=True, eq=False)
class Items:
    """What is labeled, sentence by sentence."""

    classes: tuple[str, ...]  # the labels of the training part
    labels: Int[np.ndarray, " I"]  # -1: none of them, which no probe can give
    control: Int[np.ndarray, " I"]  # the random label of the item's type
    types: Int[np.ndarray, " I"]
    part: Int[np.ndarray, " I"]
    sentence: Int[np.ndarray, " I"]

    def accuracy(self, gain: Float64[np.ndarray, " X"]) -> Estimate:
        """The mean over the test part of 1 for right and 0 for wrong, or of differences; sentences are drawn."""
        sentence = self.sentence[self.part == TEST]
        _, unit = np.unique(sentence, return_inverse=True)
        return ratio(np.bincount(unit, gain), np.bincount(unit).astype(np.float64), unit="sentence")


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """What was chosen for a layer, and which items of the test part it gets right."""

    axes: Axes
    weights: Float64[np.ndarray, "D1 C"]
    penalty: float
    choice: float  # accuracy on the second part
    right: Float64[np.ndarray, " X"]


def drawn(labeled: Labeled) -> tuple[Sentence, ...]:
    """The sentences that are asked about, in reading order: all, or of a large file those of the lowest hashes."""
    order = sorted(range(len(labeled.sentences)), key=lambda i: _uniform("draw", labeled.sentences[i].text))
    room = np.cumsum([len(labeled.sentences[i].labels) for i in order]) <= MOST_ITEMS
    chosen = sorted(order[: min(MOST_SENTENCES, int(room.sum()))])
    return tuple(labeled.sentences[i] for i in chosen)


def items_of(labeled: Labeled, sentences: Sequence[Sentence]) -> Items:
    """The items of these sentences, parted by the hash of a sentence's text: equal texts are in one part.

    Raises InputError where a part is too small or has nothing to tell apart.
    """
    bounds = np.cumsum(list(PARTS.values()))[:-1]
    parts = np.array([np.searchsorted(bounds, _uniform("part", each.text), side="right") for each in sentences], int)
    for name, count in zip(PARTS, np.bincount(parts, minlength=len(PARTS)), strict=True):
        if count < FEWEST:
            raise InputError(
                f"--probe={labeled.path}: {len(sentences)} of its sentences can be asked about, of which the part "
                f"{name} gets {count} and needs {FEWEST}; give more sentences, or a larger --length."
            )
    counts = [len(each.labels) for each in sentences]
    part, sentence = np.repeat(parts, counts), np.repeat(np.arange(len(sentences)), counts)
    labels = [label for each in sentences for label in each.labels]
    types = [name for each in sentences for name in each.types]
    classes, frequency = np.unique(np.array(labels)[part == TRAIN], return_counts=True)
    if len(classes) < 2:
        raise InputError(
            f"--probe={labeled.path}: all labels of the training part are {classes[0]}; give more sentences."
        )
    index = {label: i for i, label in enumerate(classes.tolist())}
    return Items(
        classes=tuple(index),
        labels=np.array([index.get(label, -1) for label in labels]),
        control=control_labels(types, frequency / frequency.sum()),
        types=np.unique(types, return_inverse=True)[1],
        part=part,
        sentence=sentence,
    )


def control_labels(types: Sequence[str], frequency: Float64[np.ndarray, " C"]) -> Int[np.ndarray, " I"]:
    """A label for each type, drawn with these frequencies by the hash of the type: the same for every model."""
    bounds = np.cumsum(frequency)[:-1]
    label = {name: np.searchsorted(bounds, _uniform("control", name), side="right") for name in set(types)}
    return np.array([label[name] for name in types], int)


def majority(items: Items) -> Float64[np.ndarray, " X"]:
    """Which items of the test part the most frequent label of the training part gets right."""
    best = np.bincount(items.labels[items.part == TRAIN]).argmax()
    return (items.labels[items.part == TEST] == best).astype(np.float64)


def majority_of_type(items: Items) -> Float64[np.ndarray, " X"]:
    """The same for the most frequent label of the item's type; of a type not met in training, that of all."""
    train, test = items.part == TRAIN, items.part == TEST
    counts = collections.Counter(items.labels[train].tolist())
    usual = [label for label, _ in counts.most_common()]
    of_type: dict[int, collections.Counter[int]] = collections.defaultdict(collections.Counter)
    for name, label in zip(items.types[train].tolist(), items.labels[train].tolist(), strict=True):
        of_type[name][label] += 1
    best = {name: max(usual, key=own.__getitem__) for name, own in of_type.items()}
    given = np.array([best.get(name, usual[0]) for name in items.types[test].tolist()])
    return (items.labels[test] == given).astype(np.float64)


def probe(features: Float32[np.ndarray, "I D"], items: Items) -> Layer:
    """The probe of the penalty that is best on the second part, fitted on the first, measured on the third."""
    axes = axes_of(features[items.part == TRAIN])
    rows = [axes.rows(features[items.part == part]) for part in range(len(PARTS))]
    labels = [items.labels[items.part == part] for part in range(len(PARTS))]
    best, weights = None, None
    for penalty in PENALTIES:
        weights = fit(axes, rows[TRAIN], labels[TRAIN], len(items.classes), penalty, weights)
        choice = float(right(weights, rows[CHOICE], labels[CHOICE]).mean())
        if best is None or choice > best.choice:
            best = Layer(axes, weights, penalty, choice, right(weights, rows[TEST], labels[TEST]))
    assert best is not None, "there are penalties"
    return best


def control(features: Float32[np.ndarray, "I D"], items: Items, layer: Layer) -> Float64[np.ndarray, " X"]:
    """Which items of the test part the layer's probe gets right of the control task: one of the same penalty."""
    train, test = items.part == TRAIN, items.part == TEST
    rows, classes = layer.axes.rows(features[train]), len(items.classes)
    weights = fit(layer.axes, rows, items.control[train], classes, layer.penalty)
    return right(weights, layer.axes.rows(features[test]), items.control[test])


def best_layer(layers: Sequence[Layer]) -> int:
    """The layer that is best on the second part; of equally good ones the lowest."""
    return int(np.argmax([layer.choice for layer in layers]))


def _uniform(purpose: str, text: str) -> float:
    """A number between 0 and 1 that is a function of the text."""
    digest = hashlib.blake2b(text.encode(), digest_size=8, person=purpose.encode()).digest()
    return int.from_bytes(digest, "big") / 2**64
