"""Sources so small that all their texts can be enumerated, and models that learn them by the step of training.

A source is the array of the probabilities of its texts, an axis a letter: every conditional and every entropy is a sum
over it.
"""

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

import scoring
from batch import Batch, Vocab
from cases import build
from data.sources import open_source
from evaluation.blocks import Blocks, cut
from evaluation.passes import Subject
from models import ModelConfig
from objectives import MaskedLm, Objective
from training.config import OptimizerConfig
from training.optimizer import make_optimizer
from training.state import init_state
from training.step import make_train_step

OPTIMIZED: dict[str, Any] = {"xla_backend_optimization_level": 1}
"""Compiler options for what runs hundreds of times; elsewhere in the tests compiling is nearly all of the cost."""

PAD, MASK, START, LETTER = range(4)  # letter k of a source has the id LETTER + k
MOST = 8  # letters of a source
ROWS, CHUNK = 64, 100  # windows of a step, steps of a call


class Recipe(NamedTuple):
    """A model, and what of a source it learns from: windows of `length` tokens, ROWS a step."""

    config: ModelConfig
    objective: Objective
    length: int
    steps: int
    rate: float


def vocab(letters: int = MOST) -> Vocab:
    """The vocabulary of a source of so many letters: no text holds the other ids."""
    unused = range(LETTER + letters, LETTER + MOST)
    return Vocab(size=LETTER + MOST, special=(PAD, MASK, START, *unused), pad=PAD, mask=MASK, end=START)


def enumerate_source(corpus: str) -> np.ndarray:
    """The array of a source of `data.sources`, from what its oracle gives whole texts."""
    source = open_source(corpus)
    shape = (len(source.alphabet),) * source.length
    symbols = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=1)
    return np.exp(source.log_p(symbols, np.ones_like(symbols, bool))).reshape(shape)


def entropy(p: np.ndarray, places: Iterable[int]) -> float:
    """H(the letters at these places), in bits."""
    cells = p.sum(axis=tuple(set(range(p.ndim)) - set(places))).reshape(-1)
    return float(-(cells[cells > 0] * np.log2(cells[cells > 0])).sum())


def spelled(p: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The ids of these texts, a row each, which count as in `p.reshape(-1)`."""
    return LETTER + np.stack(np.unravel_index(index, p.shape), axis=1)


def texts(p: np.ndarray, index: np.ndarray | None = None) -> Blocks:
    """These texts of a source, or all of them, a block each."""
    ids, letters = vocab(max(p.shape)), spelled(p, np.arange(p.size) if index is None else index)
    return cut(scoring.tokens([tuple(row) for row in letters.tolist()], ids), ids, p.ndim + 1)


class Trained(Subject):
    """A subject that is asked more often than its pass takes to compile well."""

    @functools.cached_property
    def single(self):
        return jax.jit(super().single, compiler_options=OPTIMIZED)


def learned(p: np.ndarray, recipe: Recipe, seed: int = 0) -> Trained:
    """A model that has learned a source from new texts at every step.

    Texts longer than a window go on in the next step. A masked model meets many numbers of hidden letters: before its
    objective hides more, 0 to all but one are behind [MASK] already, drawn for each text.
    """
    state, chunk = _trainer(recipe, seed)
    rng, parts = np.random.default_rng(seed), -(-(1 + p.ndim) // recipe.length)
    for first in range(0, recipe.steps, CHUNK):
        letters = spelled(p, rng.choice(p.size, CHUNK // parts * ROWS, p=p.reshape(-1)))
        if isinstance(recipe.objective, MaskedLm):
            rank = rng.random(letters.shape).argsort(axis=1)
            letters = np.where(rank < rng.integers(0, p.ndim, (len(letters), 1)), MASK, letters)
        state, _ = chunk(state, _batches(letters, recipe.length, parts, first))
    ids = vocab(max(p.shape))
    return Trained(recipe.config, build(recipe.config, ids.size), state.params, recipe.objective, ids)


@functools.cache
def _trainer(recipe: Recipe, seed: int):
    """The state before the first step, and a CHUNK of steps as one compiled call, which serves all sources."""
    model = build(recipe.config, vocab().size, remat="none")
    schedule = {"total_steps": recipe.steps, "peak_rate": recipe.rate, "warmup_steps": CHUNK // 4}
    optimizer = make_optimizer(OptimizerConfig(**schedule, beta2=0.99, weight_decay=0.0))
    step = make_train_step(model, recipe.objective, vocab(), optimizer)
    seeded = lambda state, batch: step(state, batch, seed)  # noqa: E731
    chunk = jax.jit(lambda state, batches: jax.lax.scan(seeded, state, batches), compiler_options=OPTIMIZED)
    return init_state(model, optimizer, ROWS, seed), chunk


def _batches(letters: np.ndarray, length: int, parts: int, first: int) -> Batch:
    """The batches of a CHUNK, stacked: each text behind its start, in `parts` windows, a step each."""
    whole = np.full((len(letters), parts * length), PAD)
    whole[:, 0], whole[:, 1 : letters.shape[1] + 1] = START, letters
    tokens = whole.reshape(-1, ROWS, parts, length).swapaxes(1, 2).reshape(CHUNK, ROWS, length).astype(np.int32)
    number = np.arange(CHUNK * ROWS, dtype=np.int32).reshape(CHUNK, ROWS)
    return Batch(
        tokens=tokens,
        segments=np.zeros_like(tokens),
        document=(tokens != PAD).astype(np.int32),
        word=np.where(tokens >= LETTER, np.arange(length, dtype=np.int32), -1),
        example=number + first * ROWS,
        epoch=np.zeros_like(number),
        fresh=np.broadcast_to((np.arange(CHUNK) % parts == 0)[:, None], number.shape),
        summary=np.zeros_like(number),
    )
