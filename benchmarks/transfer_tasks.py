"""The tasks that pretraining is judged by: public sets, each in a folder, split and cut to size by rules told here."""

import dataclasses
import functools
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from batch import InputError
from finetuning.examples import Labeled, Tagged
from finetuning.files import Layout, of_words, read_words
from finetuning.sources import open_sets
from finetuning.task import Sets, Task

Report = Callable[[str], None]
Item = TypeVar("Item")

TEXTS = {"English": "gutenberg", "Chinese": "zh_classics"}
"""What models are pretrained on, novels of Project Gutenberg in either language: how the name of its folder begins."""

MOST_LEARNED, MOST_JUDGED = 1024, 1000
"""Examples of a task that are learned from, and that are judged by; of more, so many are drawn, the same for all."""

EVERY = 5
"""Where a set comes in one piece, and to choose a learning rate, each fifth example judges, and the others teach."""

CONTENT = ("NOUN", "PROPN", "VERB", "ADJ", "ADV")
FEWEST_WORDS = 5


@dataclasses.dataclass(frozen=True)
class Real:
    """A public set, or what is made of one."""

    name: str
    folder: str  # how the name of its folder begins
    read: Callable[[Path, Report], Sets]
    text: str = "English"  # of TEXTS: what its models are pretrained on


def classified(folder: Path, report: Report, *, texts: tuple[str, ...], label: str) -> Sets:
    """A table with a class for each text, or for each pair of texts."""
    files = one_file(folder, "train"), one_file(folder, "dev")
    return open_sets("classification", folder, Layout(texts, label, *files), report)


def tagged(folder: Path, report: Report, *, train: str, dev: str) -> Sets:
    """Columns of words with their tags, in files with these words in their names."""
    files = one_file(folder, train), one_file(folder, dev)
    return open_sets("tagging", folder, Layout(("0",), "1", *files), report)


def chosen(folder: Path, report: Report) -> Sets:
    """Endings of a sentence, of which one is right."""
    return open_sets("codah", folder, Layout(train=one_file(folder, "train"), dev=one_file(folder, "dev")), report)


def asked(folder: Path, report: Report) -> Sets:
    """Questions about paragraphs; the dev set teaches and the test set judges, as a training set takes too long."""
    return open_sets("squad", folder, Layout(train=one_file(folder, "dev"), dev=one_file(folder, "test")), report)


def trees(folder: Path, report: Report) -> Sets:
    """Parts of speech of a treebank that comes as one file."""
    del report
    learned, judged = parted(read_words(folder / one_file(folder, ".conllu"), Layout(label="UPOS"), None))
    return of_words(folder.name, learned, judged, str(folder))


def densities(folder: Path, report: Report) -> Sets:
    """The lexical density (Johansson 2008) of sentences, by their annotated tags.

    It is the share of content words, those in CONTENT, among all words but punctuation, for sentences of at least
    FEWEST_WORDS of these. A model reads the words alone. Numbers are in standard deviations from the mean of the
    training set.
    """
    sets = tagged(folder, report, train="train_pos", dev="dev_pos")
    found = [[(each, density(each)) for each in part if isinstance(each, Tagged)] for part in (sets.train, sets.dev)]
    train, dev = ([(each, share) for each, share in part if share is not None] for part in found)
    shares = [share for _, share in train]
    if len(set(shares)) < 2:
        raise InputError(f"{folder}: no two sentences differ in their share of content words; give a whole treebank.")
    mean, deviation = statistics.fmean(shares), statistics.stdev(shares)
    learned, judged = (
        [Labeled(each.name, (" ".join(each.words),), f"{(share - mean) / deviation:.4f}") for each, share in part]
        for part in (train, dev)
    )
    return Sets(Task(folder.name, "regression", ("pearson",)), (), learned, judged)


def density(sentence: Tagged) -> float | None:
    """The share of content words among all words but punctuation; None of a sentence that has too few."""
    tags = [tag for tag in sentence.tags or () if tag != "PUNCT"]
    return sum(tag in CONTENT for tag in tags) / len(tags) if len(tags) >= FEWEST_WORDS else None


parts_of_speech = functools.partial(tagged, train="train_pos", dev="dev_pos")

TASKS = (
    Real("polarity", "sentence_polarity", functools.partial(classified, texts=("1",), label="0")),
    Real("qnli", "qnli", functools.partial(classified, texts=("question", "sentence"), label="label")),
    Real("endings", "codah", chosen),
    Real("answers", "policyqa", asked),
    Real("entities", "wnut17", functools.partial(tagged, train="train", dev="dev")),
    Real("tags", "ud_ewt", parts_of_speech),
    Real("density", "ud_ewt", densities),
    Real("tags-zh", "zh_gsdsimp", trees, text="Chinese"),
)
"""One line a task, in the order of the table."""


def one_file(folder: Path, within: str) -> str:
    """The name of the one file of a folder that has these words in it. Raises InputError where there is no such one."""
    found = sorted(path.name for path in folder.iterdir() if within in path.name)
    if len(found) != 1:
        there = f"{', '.join(found)} have" if found else "none of its files has"
        raise InputError(f"{folder}: {there} {within!r} in the name; leave one file there that has.")
    return found[0]


def folder_of(data: Path, begin: str) -> Path | None:
    """The one folder whose name begins so; None where there is none. Raises InputError where there are several."""
    found = sorted(path for path in data.iterdir() if path.is_dir() and path.name.startswith(begin))
    if len(found) > 1:
        raise InputError(f"--data={data}: {', '.join(path.name for path in found)} all begin with {begin}; leave one.")
    return found[0] if found else None


def find_tasks(data: Path, tasks: Sequence[Real], report: Report) -> dict[Real, Sets]:
    """The sets of the tasks that are there, cut to size; `report` is told which are not.

    Raises InputError where there is none, and for files that cannot be read.
    """
    if not data.is_dir():
        raise InputError(f"--data={data}: is no folder; name the one that holds a folder for each set.")
    found = {}
    for task in tasks:
        folder, text = folder_of(data, task.folder), folder_of(data, TEXTS[task.text])
        if folder is None or text is None:
            missing = task.folder if folder is None else TEXTS[task.text]
            report(f"{task.name}: left out, as {data} has no folder whose name begins with {missing}.")
            continue
        sets = task.read(folder, report)
        found[task] = dataclasses.replace(
            sets,
            task=dataclasses.replace(sets.task, name=task.name),
            train=drawn(sets.train, MOST_LEARNED),
            dev=drawn(sets.dev, MOST_JUDGED),
            others={},
        )
    if not found:
        raise InputError(f"--data={data}: holds the set and the text of no task; docs/finetuning.md says what it must.")
    return found


def drawn(examples: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the examples, drawn by a seed of its own, in their order."""
    chosen = np.random.default_rng(0).permutation(len(examples))[:most]
    return [examples[i] for i in np.sort(chosen)]


def parted(examples: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Those that teach, and each fifth, which judges."""
    return [each for i, each in enumerate(examples) if (i + 1) % EVERY], list(examples[EVERY - 1 :: EVERY])


def tuning(sets: Sets) -> Sets:
    """The training set alone, in two parts: a learning rate is chosen without a look at the dev set."""
    learned, judged = parted(sets.train)
    return dataclasses.replace(sets, train=learned, dev=judged, others={})
