"""A task that needs no files but a text: in which sentences are two neighboring words swapped?

It is the bigram shift of Conneau et al. (2018, "What you can cram into a single vector"). Labels are made by a rule, so
that it says what a model knows of the order of words, and nothing of what people would want it for.
"""

import functools
from collections.abc import Iterator

import numpy as np

from data.config import DataConfig
from data.corpus import open_corpus
from data.sentences import split_sentences
from data.splits import Split, plan_splits
from finetuning.examples import Labeled
from finetuning.task import Sets, Task

INTACT, SWAPPED = LABELS = ("intact", "swapped")
LEAST, MOST = 6, 24
"""Words of a sentence."""


@functools.lru_cache(maxsize=1)
def swapped_neighbors(data: DataConfig) -> Sets:
    """Each held-out sentence of a corpus once, every other one, as a coin falls, with two words swapped.

    The sentences of the validation split are learned from, those of the test split are judged by: a run of
    pretraining on `data` has read neither. What is swapped are different words of small letters alone, so that neither
    capitals nor punctuation tell it. Raises InputError where the corpus cannot be read, or has no such sentences.
    """
    plan = plan_splits(open_corpus(data).documents, data.validation, data.test)
    learned, judged, rng = [], [], np.random.default_rng(0)
    examples: dict[Split, list[Labeled]] = {"train": [], "validation": learned, "test": judged}
    seen: set[str] = set()
    for split, document in plan.parts(open_corpus(data).documents()):
        for words in sentences(document.lines) if split != "train" else ():
            places, text = swappable(words), " ".join(words)
            if places and text not in seen:
                seen.add(text)
                label = LABELS[int(rng.integers(2))]
                text = text if label == INTACT else " ".join(with_swapped(words, places[rng.integers(len(places))]))
                examples[split].append(Labeled(str(len(examples[split])), (text,), label))
    return Sets(Task("swapped neighbors", "classification", ("accuracy",)), LABELS, learned, judged)


def sentences(lines: tuple[str, ...]) -> Iterator[list[str]]:
    """The words of the sentences that are neither short nor long."""
    for line in lines:
        for sentence in split_sentences(line):
            words = sentence.split()
            if LEAST <= len(words) <= MOST:
                yield words


def swappable(words: list[str]) -> list[int]:
    """The places of words that differ from the next one, both of small letters alone."""
    plain = [word.isalpha() and word.islower() for word in words]
    return [i for i in range(len(words) - 1) if plain[i] and plain[i + 1] and words[i] != words[i + 1]]


def with_swapped(words: list[str], place: int) -> list[str]:
    """The words, of which that at a place and the next one have changed places."""
    return [*words[:place], words[place + 1], words[place], *words[place + 2 :]]
