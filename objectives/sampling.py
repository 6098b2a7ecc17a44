"""Draws the tokens of one row that an objective hides: single tokens, whole words, spans, n-grams.

Every function treats one row, is to be mapped over rows, and returns which positions were chosen; `predictions` turns
those into the fixed number of slots that a compiled step needs.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key


@struct.dataclass(kw_only=True)
class Words:
    """The words of a row, as far as they consist of eligible tokens. Beyond the last word, every start is L."""

    start: Int[Array, " L1"]  # position of the w-th word's first token
    at_or_after: Int[Array, " L1"]  # which word is the first to start at this position or later
    barrier: Int[Array, " L1"]  # the next position, this one included, that is not eligible


def find_words(word: Int[Array, " L"], eligible: Bool[Array, " L"]) -> Words:
    """The words of a row; one that an ineligible token interrupts counts as two."""
    length = word.shape[0]
    previous = jnp.pad(jnp.where(eligible, word, -1), (1, 0), constant_values=-1)[:-1]
    begins = eligible & (word != previous)
    blocked = jnp.append(jnp.where(eligible, length, jnp.arange(length)), length)
    return Words(
        start=jnp.nonzero(begins, size=length + 1, fill_value=length)[0],
        at_or_after=jnp.pad(jnp.cumsum(begins), (1, 0)),
        barrier=jax.lax.cummin(blocked, axis=0, reverse=True),
    )


def predictions(chosen: Bool[Array, " L"], slots: int) -> tuple[Int[Array, " P"], Float[Array, " P"]]:
    """The chosen positions, ascending, in `slots` places; the weight is 1 where a place is used."""
    at = jnp.nonzero(chosen, size=slots, fill_value=0)[0]
    return at, (jnp.arange(slots) < chosen.sum()).astype(jnp.float32)


def sample_tokens(eligible: Bool[Array, " L"], count: Int[Array, ""], key: Key[Array, ""]) -> Bool[Array, " L"]:
    """Exactly `count` eligible tokens (all of them if there are fewer), every subset being equally likely."""
    length = eligible.shape[0]
    rank = jnp.argsort(jnp.argsort(_priorities(key, length, eligible)))
    return eligible & (rank < count)


def sample_spans(
    words: Words,
    lengths: Int[Array, " L"],
    budget: Int[Array, ""],
    key: Key[Array, ""],
) -> tuple[Bool[Array, " L"], Int[Array, " L"]]:
    """Whole words until the budget of tokens is spent, and for each chosen token the first position of its span.

    Words are tried in random order as starts of spans of `lengths` words, which end at the first ineligible token. A
    span that would exceed the budget or overlap an earlier one is skipped, not cut, as in BERT's whole-word masking:
    long ones are rarer towards the end.
    """
    length = lengths.shape[0]
    index = jnp.arange(length)
    real = words.start[:-1] < length
    order = jnp.argsort(_priorities(key, length, real))

    def attempt(carry, candidate):
        chosen, first, spent = carry
        word, num_words = candidate
        begin = words.start[word]
        end = jnp.minimum(words.start[jnp.minimum(word + num_words, length)], words.barrier[begin])
        inside = (index >= begin) & (index < end)
        size = inside.sum()
        taken = (size > 0) & (spent + size <= budget) & ~(inside & chosen).any()
        chosen = jnp.where(taken, chosen | inside, chosen)
        first = jnp.where(taken & inside, begin, first)
        return (chosen, first, spent + jnp.where(taken, size, 0)), None

    nothing = (jnp.zeros(length, bool), index, jnp.zeros((), budget.dtype))
    (chosen, first, _), _ = jax.lax.scan(attempt, nothing, (order, lengths))
    return chosen, first


def geometric_lengths(count: int, success: float, longest: int, key: Key[Array, ""]) -> Int[Array, " L"]:
    """Span lengths in words: geometric given that they are at most `longest` (Joshi et al. 2020, section 3.1).

    With success 0.2 and at most 10 words their mean is the paper's 3.8; were longer ones cut to 10, it would be 4.5.
    """
    log_odds = jnp.arange(longest) * jnp.log1p(-success)
    return 1 + jax.random.categorical(key, log_odds, shape=(count,))


def sample_ngrams(
    words: Words,
    eligible: Bool[Array, " L"],
    goal: int,
    context_per_target: float,
    longest: int,
    key: Key[Array, ""],
    *,
    unit: str,
) -> Bool[Array, " L"]:
    """At most `goal` tokens: n-grams at word starts, each amid some context (Yang et al. 2019, section 3.1).

    From left to right: n in 1..longest with probability proportional to 1/n, as in the release, and a context of
    n * context_per_target tokens, split at random into left and right of the n-gram. With unit "piece" an n-gram is
    n tokens and the last one is cut to the goal, as in the release; with "word" it is n whole words, and the first one
    that does not fit ends the walk. So does the end of the row, which no n-gram touches.
    """
    length, index = eligible.shape[0], jnp.arange(eligible.shape[0])
    log_odds = -jnp.log(jnp.arange(1, longest + 1, dtype=jnp.float32))

    def step(carry, key):
        chosen, cursor, left, done = carry
        size_key, shift_key = jax.random.split(key)
        n = jnp.minimum(1 + jax.random.categorical(size_key, log_odds), jnp.maximum(left, 1))
        context = (n * context_per_target).astype(jnp.int32)
        before = jax.random.randint(shift_key, (), 0, jnp.maximum(context, 1))
        word = words.at_or_after[jnp.minimum(cursor + before, length)]
        begin = words.start[word]
        after = words.start[jnp.minimum(word + n, length)] if unit == "word" else begin + n
        inside = (index >= begin) & (index < after) & eligible
        done = done | (after >= length) | (inside.sum() > left) | (left <= 0)
        chosen = jnp.where(done, chosen, chosen | inside)
        left = left - jnp.where(done, 0, inside.sum())
        return (chosen, after + context - before, left, done), None

    nothing = (jnp.zeros(length, bool), jnp.zeros((), jnp.int32), jnp.asarray(goal, jnp.int32), jnp.asarray(False))
    (chosen, *_), _ = jax.lax.scan(step, nothing, jax.random.split(key, goal))
    return chosen


def _priorities(key: Key[Array, ""], length: int, eligible: Bool[Array, " L"]) -> Int[Array, " L"]:
    """Random integers, the eligible ones' first. 30 bits: two of a row almost never tie."""
    bits = (jax.random.bits(key, (length,)) >> 2).astype(jnp.int32)
    return jnp.where(eligible, bits, jnp.iinfo(jnp.int32).max)
