"""What pseudo-likelihoods give words of several pieces: too much (Kauf and Ivanova 2023)."""

import dataclasses

import numpy as np
from jaxtyping import Float64, Int64

from ablation.findings.asking import SEED, Answers, Questions, asked_model, bits, fills, optimum, source_of
from ablation.results import Metric
from ablation.yardsticks import Items, Measured, Yardstick
from data.sources.lexicon import PIECES, Lexicon
from evaluation.batched import Watch
from evaluation.task import Entry

GROUPS, ASKED = 7, 3
"""Groups of a string, and which of them is asked about."""

AMID = 4
"""Texts that each word is asked for in."""

_GAP = "Bits that a word of three pieces gets more than an equally frequent one of one piece, {}; 0 would be fair."
PLL = Metric("inflation, PLL", "bits/word", "less", _GAP.format("each piece given all others"))
WORD = Metric(
    "inflation, PLL-word-l2r", "bits/word", "less", _GAP.format("each piece given all but the later ones of its word")
)


def inflation() -> Yardstick:
    """How much a score prefers long words, by two scores; words count as often as they come."""

    def measure(entry: Entry, watch: Watch) -> Measured:
        source = source_of(entry.checkpoint.experiment, Lexicon)
        answers = asked_model(entry, source).answers(watch)
        return {PLL.name: preferred(source, answers, whole=False), WORD.name: preferred(source, answers, whole=True)}

    return Yardstick((PLL, WORD), measure, f"inflation amid {AMID}", fills("lexicon"))


def preferred(source: Lexicon, answers: Answers, *, whole: bool) -> Items:
    """What each long word gets more than the short one of its rank; of a `whole` word, later pieces are hidden too."""
    short = word_bits(source, answers, range(1), whole=whole)
    long = word_bits(source, answers, range(1, 1 + PIECES), whole=whole)
    return Items(source.frequency * (short - long), source.frequency)


def word_bits(source: Lexicon, answers: Answers, pieces: range, *, whole: bool) -> Float64[np.ndarray, " words"]:
    """The score of the words at these pieces of a group, on average over the texts that they stand in."""
    strings, first = every_word(source), source.table.width * ASKED
    index, total = np.arange(strings.shape[1]), np.zeros(len(strings))
    for piece in pieces:
        later = (index > first + piece) & (index < first + pieces.stop) & whole
        shown = np.tile((index != first + piece) & ~later, (len(strings), 1))
        total += bits(Questions(strings, shown, np.full(len(strings), first + piece)), answers)
    return total.reshape(AMID, source.words).mean(axis=0)


def every_word(source: Lexicon) -> Int64[np.ndarray, "Q n"]:
    """AMID texts, in each of which every rank in turn has its two words."""
    texts = dataclasses.replace(source, groups=GROUPS).sample(AMID, SEED)
    strings, width = np.repeat(texts, source.words, axis=0), source.table.width
    words = np.column_stack([source.short, source.long])
    strings[:, width * ASKED : width * (ASKED + 1)] = np.tile(words, (AMID, 1))
    return strings


def theory(source: Lexicon) -> float:
    """How much PLL prefers long words if the model is perfect, in bits."""
    return preferred(source, optimum(source), whole=False).value
