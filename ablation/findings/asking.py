"""Questions about strings of a known source, put to the source and to models alike.

A question is a symbol of a string, given those that are shown; all others are hidden. The strings are drawn anew, from
the source and not from the corpus, and models answer with all their probabilities, so that a loss is an expectation
under the source: -sum_v p(v | shown) log2 q(v | shown). What is left of chance is the training.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from ablation.yardsticks import any_other
from batch import InputError
from data.sources import Source, is_source, open_source
from evaluation.batched import Watch, in_batches, silent
from evaluation.bayes import bayes
from evaluation.blocks import Blocks, start_token
from evaluation.likelihood import natural
from evaluation.passes import Subject, distribution
from evaluation.task import Entry
from training.config import Experiment

SEED = 1
"""Of the strings that are asked about; corpora are drawn with 0."""

ROWS = 256
"""Of a pass: the models are tiny."""


@dataclasses.dataclass(frozen=True, eq=False)
class Questions:
    """Each asks for the symbol at a place of a string, given what is shown of it."""

    symbols: Int64[np.ndarray, "Q n"]
    shown: Bool[np.ndarray, "Q n"]
    place: Int64[np.ndarray, " Q"]

    @property
    def truth(self) -> Int64[np.ndarray, " Q"]:
        """The symbols that are there."""
        return self.symbols[np.arange(len(self.place)), self.place]

    @property
    def follow(self) -> bool:
        """Whether each asks what comes next: all that is shown stands before it, and all before it is shown."""
        return bool((self.shown == (np.arange(self.shown.shape[1]) < self.place[:, None])).all())

    @property
    def between(self) -> bool:
        """Whether all else is shown."""
        return bool((self.shown == (np.arange(self.shown.shape[1]) != self.place[:, None])).all())


Answers = Callable[[Questions], Float64[np.ndarray, "Q V"]]
"""Gives every question a probability for each symbol."""


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
    """A model whose vocabulary is a source's letters: all else is impossible, and what goes there is renormalized."""

    subject: Subject
    letters: Int64[np.ndarray, " V"]  # the id of each symbol

    def blocks(self, symbols: Int64[np.ndarray, "Q n"]) -> Blocks:
        """Strings behind a start, a block each."""
        rows, size = symbols.shape
        start = np.full((rows, 1), start_token(self.subject.vocab))
        place = np.broadcast_to(np.arange(-1, size), (rows, size + 1))
        text = place >= 0
        return Blocks(
            tokens=np.concatenate([start, self.letters[symbols]], axis=1).astype(np.int32),
            source=np.where(text, place + size * np.arange(rows)[:, None], -1),
            scored=text,
            byte_length=text.astype(np.int32),
            word=place.astype(np.int64),
            document=np.arange(rows),
            fresh=np.ones(rows, bool),
        )

    def answers(self, watch: Watch = silent) -> Answers:
        """How the model answers; one that reads from left to right knows what follows, and by Bayes' rule all else."""
        return lambda questions: self._answer(questions, watch)

    def _answer(self, questions: Questions, watch: Watch) -> Float64[np.ndarray, "Q V"]:
        if self.subject.any_order:
            ask = self._alone(questions)
        elif questions.follow:
            ask = self._in_chain(questions)
        else:
            return self._by_bayes(questions, watch)
        found = np.zeros((len(questions.place), len(self.letters)))
        for part, log_p in in_batches(len(found), ROWS, ask, watch):
            found[part] = np.exp(np.asarray(log_p, np.float64)[:, self.letters])
        return found

    def _alone(self, questions: Questions) -> Callable[[Int[np.ndarray, " B"]], Any]:
        tokens, single = self.blocks(questions.symbols).tokens, self.subject.single_judged(distribution)
        shown = np.pad(questions.shown, ((0, 0), (1, 0)), constant_values=True)  # the start
        target = questions.place + 1
        return lambda part: single(self.subject.params, tokens[part], shown[part], ~shown[part], target[part])

    def _in_chain(self, questions: Questions) -> Callable[[Int[np.ndarray, " B"]], Any]:
        blocks, chain = self.blocks(questions.symbols), self.subject.chain_judged(distribution)
        ranks, real = natural(blocks), blocks.real

        def ask(part: Int[np.ndarray, " B"]) -> Any:
            given = (np.ones(len(part), bool), blocks.tokens[part], real[part], ranks[part])
            log_p, _ = chain(self.subject.params, None, *given)
            return log_p[np.arange(len(part)), questions.place[part]]

        return ask

    def _by_bayes(self, questions: Questions, watch: Watch) -> Float64[np.ndarray, "Q V"]:
        assert questions.between, "a causal model does not know what is hidden beside the question"
        rows, candidates = np.arange(len(questions.place)), np.tile(self.letters, (len(questions.place), 1))
        blocks = self.blocks(questions.symbols)
        return np.exp(bayes(self.subject, blocks, rows, questions.place + 1, candidates, ROWS, watch))


def asked_model(entry: Entry, source: Source) -> Asked:
    """The model of an entry, of whose vocabulary only the letters of a source are left."""
    checkpoint = entry.checkpoint
    letters = np.concatenate([checkpoint.tokenizer.encode(letter) for letter in source.alphabet]).astype(np.int64)
    others = np.setdiff1d(np.arange(checkpoint.tokenizer.vocab.size), letters)
    vocab = dataclasses.replace(checkpoint.tokenizer.vocab, special=tuple(others.tolist()))
    return Asked(dataclasses.replace(checkpoint.subject, vocab=vocab), letters)


def optimum(source: Source) -> Answers:
    """How the source itself answers."""
    return lambda questions: source.posteriors(questions.symbols, questions.shown, questions.place)


def expected_bits(source: Source, questions: Questions, answers: Answers) -> Float64[np.ndarray, " Q"]:
    """The loss of each question on average over what may be there, in bits."""
    p, q = optimum(source)(questions), answers(questions)
    return -(p * np.log2(np.where(p > 0, q, 1.0))).sum(axis=1)


def bits(questions: Questions, answers: Answers) -> Float64[np.ndarray, " Q"]:
    """The loss of each question as it turned out, in bits."""
    return -np.log2(answers(questions)[np.arange(len(questions.place)), questions.truth])


def together(*parts: Questions) -> Questions:
    """Several lists of questions, as one."""
    return Questions(*(np.concatenate([vars(part)[name] for part in parts]) for name in ("symbols", "shown", "place")))


def source_of(experiment: Experiment, kind: type) -> Any:
    """The source that an experiment's corpus names. Raises InputError where it is another kind."""
    corpus = experiment.data.corpus
    source = open_source(corpus) if is_source(corpus) else None
    if not isinstance(source, kind):
        raise InputError(f"data.corpus={corpus}: this is asked of no other text than {kind.__name__.lower()}:.")
    return source


def reads_from(kind: str) -> Callable[[Experiment], bool]:
    """Whether an experiment's corpus is a source of this kind."""
    return lambda experiment: experiment.data.corpus.partition(":")[0] == kind


def fills(kind: str) -> Callable[[Experiment], bool]:
    """Whether, beside that, a model of the experiment can be asked for any symbol given any others."""
    return lambda experiment: reads_from(kind)(experiment) and any_other(experiment)
