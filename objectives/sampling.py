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
    barrier: Int[Array, " L"]  # the next position, this one included, that is not eligible


def find_words(word: Int[Array, " L"], eligible: Bool[Array, " L"]) -> Words:
    length = word.shape[0]
    previous = jnp.pad(jnp.where(eligible, word, -1), (1, 0), constant_values=-1)[:-1]
    begins = eligible & (word != previous)
    before = jnp.cumsum(begins) - begins  # words that start earlier
    start = jnp.full(length + 1, length).at[jnp.where(begins, before, length)].set(jnp.arange(length), mode="drop")
    start = start.at[length].set(length)
    blocked = jnp.where(eligible, length, jnp.arange(length))
    return Words(
        start=start,
        at_or_after=jnp.append(before, begins.sum()),
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

    Words are tried in random order as starts of spans of `lengths` words. A span that would exceed the budget or touch
    an earlier one is skipped, not cut, as in BERT's whole-word masking: long ones are rarer towards the end.
    """
    length = words.barrier.shape[0]
    index = jnp.arange(length)
    real = words.start[:-1] < length
    order = jnp.argsort(_priorities(key, length, real))

    def attempt(carry, candidate):
        chosen, first, spent = carry
        word, num_words = candidate
        begin = words.start[word]
        end = jnp.minimum(words.start[jnp.minimum(word + num_words, length)], words.barrier[jnp.minimum(begin, length - 1)])
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
    """Span lengths in words: geometric, clipped (Joshi et al. 2020, section 3.1)."""
    uniform = jax.random.uniform(key, (count,), minval=jnp.finfo(jnp.float32).tiny)
    drawn = 1 + jnp.floor(jnp.log(uniform) / jnp.log1p(-success)).astype(jnp.int32)
    return jnp.clip(drawn, 1, longest)


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
    """XLNet's targets: n-grams at word starts, each amid `context_per_target` n of context (Yang et al. 2019, A.1).

    From left to right: n in 1..longest with probability proportional to 1/n, a context of n * context_per_target
    tokens split at random into left and right of the n-gram. With unit "piece" an n-gram is n tokens, as in the
    release, and single tokens drawn at random fill up to exactly `goal`; with "word" it is n whole words, and what
    does not fit is left out.
    """
    length, index = eligible.shape[0], jnp.arange(eligible.shape[0])
    walk, fill = jax.random.split(key)
    odds = -jnp.log(jnp.arange(1, longest + 1, dtype=jnp.float32))

    def step(carry, key):
        chosen, cursor, left, done = carry
        size_key, shift_key = jax.random.split(key)
        n = jnp.minimum(1 + jax.random.categorical(size_key, odds), jnp.maximum(left, 1))
        context = (n * context_per_target).astype(jnp.int32)
        before = jax.random.randint(shift_key, (), 0, jnp.maximum(context, 1))
        word = words.at_or_after[jnp.minimum(cursor + before, length)]
        begin = words.start[word]
        after = jnp.where(unit == "word", words.start[jnp.minimum(word + n, length)], begin + n)
        inside = (index >= begin) & (index < after) & eligible
        done = done | (after >= length) | (inside.sum() > left) | (left <= 0)
        chosen = jnp.where(done, chosen, chosen | inside)
        left = left - jnp.where(done, 0, inside.sum())
        return (chosen, after + context - before, left, done), None

    none = (jnp.zeros(length, bool), jnp.zeros((), jnp.int32), jnp.asarray(goal, jnp.int32), jnp.asarray(False))
    (chosen, _, left, _), _ = jax.lax.scan(step, none, jax.random.split(walk, goal))
    if unit == "word":
        return chosen
    return chosen | sample_tokens(eligible & ~chosen, left, fill)


def _priorities(key: Key[Array, ""], length: int, eligible: Bool[Array, " L"]) -> Int[Array, " L"]:
    """Random integers, the eligible ones' first. 31 bits: two of a row almost never tie."""
    bits = (jax.random.bits(key, (length,)) >> 2).astype(jnp.int32)
    return jnp.where(eligible, bits, jnp.iinfo(jnp.int32).max)
