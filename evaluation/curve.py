"""The context-cardinality curve: how many bits a token takes when c of its block's n tokens are visible.

Three kinds of context are asked about. `random`: any c other tokens, as masked and permutation models are trained; the
last point, c = n - 1, is the pseudo-log-likelihood of the same tokens. `left-contiguous`: the first c tokens, as causal
models are trained, the target being the next one. `two-sided-contiguous`: the c tokens around the target. The start is
always visible and not counted, and every other token of the block is hidden.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float64, Int

from batch import InputError
from evaluation.batched import Watch, silent
from evaluation.blocks import Blocks
from evaluation.likelihood import Options, ask, left_to_right
from evaluation.ngrams import Ngrams, ngram_score
from evaluation.passes import Subject
from evaluation.statistics import FEW, Estimate, ratio

RANDOM, LEFT, TWO_SIDED = "random", "left-contiguous", "two-sided-contiguous"
KINDS = (RANDOM, LEFT, TWO_SIDED)
UNIGRAM = "unigram"

POINTS = 5
"""Values of c on either side of the middle, between the two ends."""

SEED = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Questions:
    """Tokens of blocks, each to be predicted from those that are visible; they are the same for every model.

    They come in groups, all questions of one kind and one c, so that a point of the curve is a mean over a group.
    """

    kind: Int[np.ndarray, " Q"]  # of KINDS
    count: Int[np.ndarray, " Q"]  # c
    block: Int[np.ndarray, " Q"]
    place: Int[np.ndarray, " Q"]
    visible: Bool[np.ndarray, "Q L"]  # the start, and c tokens

    def of(self, kind: str) -> Bool[np.ndarray, " Q"]:
        """Which questions are of a kind."""
        return self.kind == KINDS.index(kind)

    def where(self, chosen: Bool[np.ndarray, " Q"]) -> "Questions":
        """Some of the questions."""
        return Questions(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))

    @property
    def counts(self) -> list[int]:
        """The values of c, in increasing order."""
        return np.unique(self.count).tolist()


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What a model says to each question, NaN where it is none for this model."""

    bits: Float64[np.ndarray, " Q"]  # -log2 p of the target, over the ids that text can hold
    leaked: Float64[np.ndarray, " Q"]  # probability that went to all other ids before renormalization


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """One model's curves, of all kinds that it is asked about: the mean bits of each kind and c, with intervals."""

    name: str
    answers: Answers
    points: Mapping[tuple[str, int], Estimate]
    is_baseline: bool = True
    mass: Float64[np.ndarray, " n"] | None = None  # of its objective, where it has one

    @property
    def kinds(self) -> list[str]:
        """What it was asked."""
        return [kind for kind in KINDS if any(own == kind for own, _ in self.points)]


def cardinalities(size: int) -> list[int]:
    """The values of c for blocks of `size` tokens: both ends, and from there on geometrically to the middle."""
    steps = np.unique(np.geomspace(1, max(size / 4, 1), POINTS).round().astype(int))
    counts = {0, size // 2, *steps.tolist(), *(size - steps).tolist()}
    return sorted(c for c in counts if 0 <= c < size)


def drawn_blocks(blocks: Blocks, most: int) -> Blocks:
    """At most so many of the blocks whose tokens are all scored, drawn by where they begin in the text.

    A shorter block has no c of its own on the same axis. Raises InputError where there are not two full ones.
    """
    full = np.flatnonzero(blocks.scored[:, 1:].all(axis=1))
    if len(full) < 2:
        raise InputError(
            f"--length={blocks.length}: the text has {len(full)} documents or parts of them with {blocks.length - 1} "
            "known tokens in a row, and the curve needs 2; set a shorter --length or give longer documents."
        )
    lot = [np.random.default_rng([SEED, int(first)]).random() for first in blocks.source[full, 1]]
    return _rows(blocks, np.sort(full[np.argsort(lot)[:most]]))


def draw_questions(blocks: Blocks, items: int) -> Questions:
    """For each kind and c so many questions about full blocks, several a block where there are fewer blocks.

    A block's draw is a function of where it begins in the text, and serves all c: the random contexts of one target
    are nested, so that the curve of a kind rises or falls by what c does and not by what was drawn. Left-contiguous,
    a block has but one question for each c.
    """
    size = blocks.length - 1
    number, block = np.divmod(np.arange(max(items, blocks.num_blocks)), blocks.num_blocks)
    ranks, shares = np.zeros((len(block), size + 1), np.int64), np.zeros(len(block))
    for i, first in enumerate(blocks.source[block, 1]):
        rng = np.random.default_rng([SEED, int(first), int(number[i])])
        ranks[i, 1:], shares[i] = rng.permutation(size), rng.random()
    groups = []
    for kind in KINDS:
        kept = slice(blocks.num_blocks if kind == LEFT else None)
        for count in cardinalities(size):
            place, visible = _CONTEXTS[kind](count, ranks[kept], shares[kept])
            visible[:, 0] = True
            same = np.ones(len(place), np.int64)
            groups.append((same * KINDS.index(kind), same * count, block[kept], place, visible))
    return Questions(*map(np.concatenate, zip(*groups, strict=True)))


def answers(subject: Subject, blocks: Blocks, questions: Questions, batch: int, watch: Watch = silent) -> Answers:
    """What a model says: a pass a block where one pass has all answers, else a row of a pass a question.

    A model that reads from left to right is asked left-contiguous questions only; one that reads from right to left,
    none.
    """
    bits, leaked = np.full((2, len(questions.place)), np.nan)
    in_chain = questions.of(LEFT) & subject.one_pass & (not subject.backward)
    if in_chain.any():
        tokens = left_to_right(subject, blocks, Options(batch=batch), silent if subject.any_order else watch).tokens
        bits[in_chain] = _at(tokens.log_p, blocks, questions)[in_chain]
        leaked[in_chain] = _at(tokens.leaked, blocks, questions)[in_chain]
    alone = ~in_chain & subject.any_order
    if alone.any():
        bits[alone], leaked[alone] = _one_by_one(subject, blocks, questions.where(alone), batch, watch)
    return Answers(-bits / math.log(2), leaked)


def ngram_answers(ngrams: Ngrams, blocks: Blocks, questions: Questions) -> Answers:
    """What counts say of the same tokens; those of more than one token are asked left-contiguous questions only."""
    bits = -_at(ngram_score(ngrams, blocks).tokens.log_p, blocks, questions) / math.log(2)
    return Answers(np.where((ngrams.order == 1) | questions.of(LEFT), bits, np.nan), np.zeros(len(bits)))


def estimates(questions: Questions, blocks: Blocks, bits: Float64[np.ndarray, " Q"]) -> dict[tuple[str, int], Estimate]:
    """The mean of each kind and c with its interval, over documents, or over blocks where there are few documents."""
    by_document = len(np.unique(blocks.document)) >= FEW
    names = blocks.document if by_document else np.arange(blocks.num_blocks)
    unit = np.unique(names, return_inverse=True)[1][questions.block]
    found = {}
    for number, kind in enumerate(KINDS):
        for count in questions.counts:
            own = (questions.kind == number) & (questions.count == count)
            if np.isfinite(bits[own]).any():
                sums = np.bincount(unit[own], bits[own], unit.max() + 1)
                sizes = np.bincount(unit[own], minlength=unit.max() + 1).astype(float)
                found[kind, count] = ratio(sums, sizes, unit="document" if by_document else "block")
    return found


def _random(
    count: int, ranks: Int[np.ndarray, "Q L"], shares: Float64[np.ndarray, " Q"]
) -> tuple[Int[np.ndarray, " Q"], Bool[np.ndarray, "Q L"]]:
    """The target is first in a random order of the places, and the next c are visible."""
    return ranks[:, 1:].argmin(axis=1) + 1, (ranks >= 1) & (ranks <= count)


def _left(
    count: int, ranks: Int[np.ndarray, "Q L"], shares: Float64[np.ndarray, " Q"]
) -> tuple[Int[np.ndarray, " Q"], Bool[np.ndarray, "Q L"]]:
    """The target follows the first c."""
    return np.full(len(ranks), count + 1), np.broadcast_to(np.arange(ranks.shape[1]) <= count, ranks.shape).copy()


def _two_sided(
    count: int, ranks: Int[np.ndarray, "Q L"], shares: Float64[np.ndarray, " Q"]
) -> tuple[Int[np.ndarray, " Q"], Bool[np.ndarray, "Q L"]]:
    """The target is anywhere among the places that have ceil(c / 2) tokens before and floor(c / 2) behind them."""
    before, behind = (count + 1) // 2, count // 2
    place = 1 + before + (shares * (ranks.shape[1] - 1 - count)).astype(np.int64)
    distance = np.arange(ranks.shape[1]) - place[:, None]
    return place, (distance >= -before) & (distance <= behind) & (distance != 0)


_CONTEXTS: dict[str, Callable[..., tuple[Int[np.ndarray, " Q"], Bool[np.ndarray, "Q L"]]]] = {
    RANDOM: _random,
    LEFT: _left,
    TWO_SIDED: _two_sided,
}


def _one_by_one(
    subject: Subject, blocks: Blocks, questions: Questions, batch: int, watch: Watch
) -> tuple[Float64[np.ndarray, " Q"], Float64[np.ndarray, " Q"]]:
    """Log-probability and leaked mass, a row a question."""
    rows = _rows(blocks, questions.block)
    asked = np.arange(blocks.length) == questions.place[:, None]

    def visible(which: Int[np.ndarray, " B"], place: Int[np.ndarray, " B"]) -> tuple[Bool[np.ndarray, "B L"], ...]:
        return questions.visible[which], ~questions.visible[which]

    log_p, leaked = ask(subject, rows, asked, visible, batch, watch)
    return log_p[asked], leaked[asked]


def _at(values: Float64[np.ndarray, " T"], blocks: Blocks, questions: Questions) -> Float64[np.ndarray, " Q"]:
    """The values of the targets, of values that all tokens of full blocks have."""
    return values.reshape(blocks.num_blocks, -1)[questions.block, questions.place - 1]


def _rows(blocks: Blocks, index: Int[np.ndarray, " R"]) -> Blocks:
    """These blocks, in this order."""
    return Blocks(**{field.name: getattr(blocks, field.name)[index] for field in dataclasses.fields(blocks)})
