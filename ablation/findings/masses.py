"""What probabilities add up to: chain rules to 1, pseudo-likelihoods to anything (Salazar et al. 2020, section 2)."""

import numpy as np
from jaxtyping import Float64

from ablation.findings.asking import SEED, Answers, Questions, asked_model, fills, source_of
from ablation.results import Metric
from ablation.yardsticks import Items, Measured, Yardstick
from data.sources import Source
from data.sources.markov import Markov
from evaluation.batched import Watch
from evaluation.task import Entry

STRINGS = 64
"""Whose two middle symbols are filled in all ways."""

CHAIN = Metric(
    "mass of the chain rule",
    "probability",
    "more",
    "What the probabilities of all fillings of two neighboring places add up to, one after the other, given the rest.",
)
PSEUDO = Metric(
    "mass of the pseudo-likelihood",
    "probability",
    "less",
    "What exp(PLL) of all fillings of two neighboring places adds up to, each given the other and the rest.",
)


def masses() -> Yardstick:
    """The sums over all fillings of two places."""

    def measure(entry: Entry, watch: Watch) -> Measured:
        source = source_of(entry.checkpoint.experiment, Markov)
        answers = asked_model(entry, source).answers(watch)
        in_turn, pseudo = mass(source, answers)
        one = np.ones(STRINGS)
        return {CHAIN.name: Items(in_turn, one), PSEUDO.name: Items(pseudo, one)}

    return Yardstick((CHAIN, PSEUDO), measure, f"masses of {STRINGS}", fills("markov"))


def mass(source: Source, answers: Answers) -> tuple[Float64[np.ndarray, " strings"], Float64[np.ndarray, " strings"]]:
    """What all fillings of the two middle places of each string add up to: by the chain rule, and pseudo."""
    strings, V, at = source.sample(STRINGS, SEED), len(source.alphabet), source.length // 2
    index = np.arange(source.length)

    def given(place: int, other: int, symbol: int | None) -> Float64[np.ndarray, "strings V"]:
        """p(symbol at place | the symbol at the other place, if any, and the rest)."""
        filled, shown = strings.copy(), np.tile(index != place, (STRINGS, 1))
        if symbol is None:
            shown[:, other] = False
        else:
            filled[:, other] = symbol
        return answers(Questions(filled, shown, np.full(STRINGS, place)))

    first = given(at, at + 1, None)
    second = np.stack([given(at + 1, at, a) for a in range(V)], axis=1)  # S, a, b
    back = np.stack([given(at, at + 1, b) for b in range(V)], axis=2)  # S, a, b
    return (first[:, :, None] * second).sum(axis=(1, 2)), (second * back).sum(axis=(1, 2))
