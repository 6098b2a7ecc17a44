"""A task that needs no files but a text: in which quarter of it does a sentence stand?

The embedded corpus goes through Python packages one after the other, so that its quarters are about different things:
it is a classification by topic, whose labels nobody had to write.
"""

import functools
from collections.abc import Iterator

from data.config import DataConfig
from data.corpus import open_corpus
from data.sentences import split_sentences
from data.splits import Split, plan_splits
from finetuning.examples import Labeled
from finetuning.task import Sets, Task

QUARTERS = ("first", "second", "third", "fourth")
LEAST, MOST = 6, 24
"""Words of a sentence."""


@functools.lru_cache(maxsize=1)
def quarters(data: DataConfig) -> Sets:
    """Each held-out sentence of a corpus once, labeled with the quarter of its bytes that its document begins in.

    The sentences of the validation split are learned from, those of the test split are judged by. A run of
    pretraining on `data` has read neither: what also stands in the training split is left out. Raises InputError where
    the corpus cannot be read, or is too small.
    """
    corpus = open_corpus(data)
    plan = plan_splits(corpus.documents, data.validation, data.test)
    examples: dict[Split, list[Labeled]] = {"validation": [], "test": []}
    trained_on = (document for split, document in plan.parts(corpus.documents()) if split == "train")
    seen = {text for document in trained_on for text in sentences(document.lines)}
    before, total = 0, sum(plan.num_bytes.values())
    for split, document in plan.parts(corpus.documents()):
        label = QUARTERS[before * len(QUARTERS) // total]
        before += document.num_bytes
        for text in sentences(document.lines) if split != "train" else ():
            if text not in seen:
                seen.add(text)
                examples[split].append(Labeled(str(len(examples[split])), (text,), label))
    task = Task("quarters", "classification", ("accuracy",))
    return Sets(task, QUARTERS, examples["validation"], examples["test"])


def sentences(lines: tuple[str, ...]) -> Iterator[str]:
    """The sentences of these lines that are neither short nor long."""
    for line in lines:
        for sentence in split_sentences(line):
            words = sentence.split()
            if LEAST <= len(words) <= MOST:
                yield " ".join(words)
