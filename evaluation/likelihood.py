"""Exact log-likelihoods by the chain rule, in one order for all models or in many.

log p(x) is the sum of log p(x_t | what precedes t in the order). A causal or a permutation model gives all terms in one
pass. A masked model needs a pass for each: the tokens before t are shown, [MASK] stands at t and the kappa - 1 places
after it, and nothing beyond (Kauf and Ivanova 2023 call kappa = all the global left-to-right score). Whatever kappa is,
each term is a distribution over what may stand at t, so that their product is one over texts of this length. A
mixture of a causal and a masked model is read in one pass in its own direction, and behind [MASK] in other orders.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float64, Int

from batch import InputError
from evaluation.batched import Watch, in_batches, silent
from evaluation.blocks import Blocks
from evaluation.passes import Judged, Subject, judge
from evaluation.scores import Score, block_sums, token_scores
from models.flops import forward_flops

ROWS = 16
"""Rows that a text is cut into where memory is carried; how many of them are read at once changes nothing."""

Visible = Callable[[Int[np.ndarray, " Q"], Int[np.ndarray, " Q"]], tuple[Bool[np.ndarray, "Q L"], ...]]
"""What is shown and what is hidden, for questions about places (second argument) of blocks (first argument)."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How likelihoods are asked for; nothing of it matters to a model that needs one pass, but `batch`."""

    kappa: int | None = None  # [MASK]s from the asked token on; None: as many as the block has places left
    positions: int = 0  # sampled tokens of a block, without replacement; 0: all of them
    seed: int = 0  # of the sample
    batch: int = 64  # rows of a pass at most: grouping only

    def __post_init__(self):
        if self.kappa is not None and self.kappa < 1:
            raise InputError(f"--kappa={self.kappa}: must be at least 1, the [MASK] of the asked token, or all.")
        if self.positions < 0 or self.positions == 1:
            raise InputError(
                f"--positions={self.positions}: a standard error needs at least 2 sampled positions a block; 0 asks "
                "all of them."
            )


def natural(blocks: Blocks) -> Int[np.ndarray, "N L"]:
    """Left to right."""
    return np.broadcast_to(np.arange(blocks.length), blocks.tokens.shape)


def random_order(blocks: Blocks, index: int) -> Int[np.ndarray, "N L"]:
    """The index-th random factorization order of each block, a function of where the block begins in the text."""
    ranks = np.zeros(blocks.tokens.shape, np.int64)
    for row, size, first in zip(ranks, (blocks.source >= 0).sum(axis=1), blocks.source[:, 1], strict=True):
        row[1 : size + 1] = 1 + np.random.default_rng([index, int(first)]).permutation(size)
    return ranks


def left_to_right(subject: Subject, blocks: Blocks, options: Options | None = None, watch: Watch = silent) -> Score:
    """The likelihood in reading order; a backward model's, which reads the other way, from right to left."""
    name = "right to left" if subject.backward else "left to right"
    return in_order(subject, blocks, natural(blocks), name, options or Options(), watch)


def any_order(
    subject: Subject, blocks: Blocks, orders: int, options: Options | None = None, watch: Watch = silent
) -> tuple[Score, ...]:
    """The likelihood in each of so many random orders; the same orders for every model that reads these blocks."""
    assert subject.any_order, "a causal model has one order"
    options = options or Options()
    scores = []
    for i in range(orders):
        own = dataclasses.replace(options, seed=options.seed + i)
        told = lambda done, total, i=i: watch(i * total + done, orders * total)  # noqa: E731
        scores.append(in_order(subject, blocks, random_order(blocks, i), f"order {i + 1}", own, told))
    return tuple(scores)


def in_order(
    subject: Subject, blocks: Blocks, ranks: Int[np.ndarray, "N L"], name: str, options: Options, watch: Watch = silent
) -> Score:
    """The likelihood in the order that `ranks` give each block."""
    reads = subject.in_chain if (ranks == natural(blocks)).all() else subject.in_any_chain
    context = f"the block {'after' if reads == 'left' else 'before'} it"
    if reads is not None:
        log_p, leaked = _in_one_pass(subject, blocks, ranks, reads, options.batch, watch)
        asked, passes, predictions = blocks.scored, 1.0, blocks.length - 1
    else:
        asked = sampled(blocks, options)
        log_p, leaked = ask(subject, blocks, asked, before(blocks, ranks, options.kappa), options.batch, watch)
        passes, predictions = asked.sum() / blocks.num_blocks, 1
        kappa = "all" if options.kappa is None else options.kappa
        name, context = f"{name}, κ={kappa}", f"{context}; [MASK] at {kappa} places from it on"
    return Score(
        name=name,
        normalised=True,
        context=context,
        passes=float(passes),
        flops=float(passes * pass_flops(subject, blocks.length, predictions, reads or subject.alone)),
        tokens=token_scores(blocks, log_p, leaked, asked),
    )


def carried(subject: Subject, blocks: Blocks, options: Options | None = None, watch: Watch = silent) -> Score:
    """The left-to-right likelihood with the memory of a document's earlier blocks; `blocks` are cut as carried.

    The text is cut into ROWS rows of consecutive blocks. A row begins with an empty memory, and so does a document.
    """
    assert subject.one_pass and not subject.backward
    batch = min((options or Options()).batch, ROWS)
    real, order = blocks.real, natural(blocks)
    steps = -(-blocks.num_blocks // ROWS)
    block = np.arange(ROWS)[:, None] * steps + np.arange(steps)
    fresh = blocks.fresh[np.minimum(block, blocks.num_blocks - 1)] | (np.arange(steps) == 0)
    block = np.where(block < blocks.num_blocks, block, -1)
    log_p, leaked = _unasked(blocks)
    groups = range(0, ROWS, batch)
    for number, first in enumerate(groups):
        memory = subject.model.init_memory(batch)
        for step in range(steps):
            at = np.minimum(np.arange(first, first + batch), ROWS - 1)
            rows = block[at, step]
            seen = real[rows] & (rows >= 0)[:, None]
            given = (fresh[at, step], blocks.tokens[rows], seen, order[rows])
            judged, memory = subject.chain(subject.params, memory, *given)
            _keep(log_p, leaked, rows, jax.device_get(judged))
            watch(number * steps + step + 1, len(groups) * steps)
    reach = getattr(subject.config, "memory_length", 0)
    return Score(
        name="left to right, memory carried",
        normalised=True,
        context=f"the block before it, and {reach} tokens of memory of its document",
        passes=1.0,
        flops=float(pass_flops(subject, blocks.length, blocks.length - 1, subject.in_chain)),
        tokens=token_scores(blocks, log_p, leaked),
    )


def pass_flops(subject: Subject, length: int, predictions: int, reads: str | None) -> int:
    """Operations of one forward pass over one block that is read so."""
    stream = reads == "query"
    return forward_flops(subject.config, subject.vocab.size, 1, length, predictions, query_stream=stream)


def sampled(blocks: Blocks, options: Options) -> Bool[np.ndarray, "N L"]:
    """The scored tokens, or a uniform sample of each block's, keyed by where the block begins."""
    if not options.positions:
        return blocks.scored
    asked = np.zeros_like(blocks.scored)
    for row, scored, first in zip(asked, blocks.scored, blocks.source[:, 1], strict=True):
        places = np.flatnonzero(scored)
        draw = np.random.default_rng([options.seed, int(first)])
        row[draw.choice(places, min(options.positions, len(places)), replace=False)] = True
    return asked


def ask(
    subject: Subject, blocks: Blocks, asked: Bool[np.ndarray, "N L"], visible: Visible, batch: int, watch: Watch
) -> tuple[Float64[np.ndarray, "N L"], Float64[np.ndarray, "N L"]]:
    """Log-probability and leaked mass of each asked token, a row of a pass each; NaN elsewhere."""
    log_p, leaked = _unasked(blocks)
    block, place = np.nonzero(asked)

    def single(part: Int[np.ndarray, " B"]) -> Any:
        where, target = block[part], place[part]
        return subject.single(subject.params, blocks.tokens[where], *visible(where, target), target)

    for part, answer in in_batches(len(block), batch, single, watch):
        log_p[block[part], place[part]], leaked[block[part], place[part]] = answer
    return log_p, leaked


def before(blocks: Blocks, ranks: Int[np.ndarray, "N L"], kappa: int | None) -> Visible:
    """Shows what has a lower rank; hides the asked token and those of the next kappa - 1 ranks."""
    real = blocks.real

    def visible(block: Int[np.ndarray, " Q"], place: Int[np.ndarray, " Q"]) -> tuple[Bool[np.ndarray, "Q L"], ...]:
        rank = ranks[block]
        own = np.take_along_axis(rank, place[:, None], axis=1)
        near = True if kappa is None else rank < own + kappa
        return real[block] & (rank < own), real[block] & (rank >= own) & near

    return visible


def mixture(scores: Sequence[Score], num_blocks: int) -> Float64[np.ndarray, " N"]:
    """The log-probability of each block under the even mixture of the orders: log mean exp, a likelihood itself."""
    sums = np.stack([block_sums(score, num_blocks) for score in scores])
    return np.logaddexp.reduce(sums, axis=0) - np.log(len(scores))


def _in_one_pass(
    subject: Subject, blocks: Blocks, ranks: Int[np.ndarray, "N L"], reads: str, batch: int, watch: Watch
) -> tuple[Float64[np.ndarray, "N L"], Float64[np.ndarray, "N L"]]:
    log_p, leaked = _unasked(blocks)
    real, read = blocks.real, subject.chain_judged(judge, reads)

    def chain(part: Int[np.ndarray, " B"]) -> Judged:
        fresh = np.ones(len(part), bool)
        return read(subject.params, None, fresh, blocks.tokens[part], real[part], ranks[part])[0]

    for part, judged in in_batches(blocks.num_blocks, batch, chain, watch):
        _keep(log_p, leaked, part, judged)
    return log_p, leaked


def _unasked(blocks: Blocks) -> tuple[Float64[np.ndarray, "N L"], Float64[np.ndarray, "N L"]]:
    return np.full(blocks.scored.shape, np.nan), np.full(blocks.scored.shape, np.nan)


def _keep(log_p: np.ndarray, leaked: np.ndarray, rows: Int[np.ndarray, " B"], judged: Any) -> None:
    """Writes what a pass found of these blocks; -1 is no block."""
    for all_found, found in zip((log_p, leaked), map(np.asarray, judged), strict=True):
        all_found[rows[rows >= 0], 1:] = found[rows >= 0]
