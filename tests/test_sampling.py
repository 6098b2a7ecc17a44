"""Sampling: exact counts, equal chances, whole words, span lengths, n-grams."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from objectives.sampling import find_words, geometric_lengths, predictions, sample_ngrams, sample_spans, sample_tokens


def keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def random_words(rows: int, length: int, start_rate: float, seed: int = 0) -> np.ndarray:
    starts = np.random.default_rng(seed).random((rows, length)) < start_rate
    starts[:, 0] = True
    return (np.cumsum(starts, axis=1) - 1).astype(np.int32)


def runs(row: np.ndarray) -> list[tuple[int, int]]:
    """Begin and end of each maximal run of True."""
    edges = np.flatnonzero(np.diff(np.pad(row.astype(int), 1)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def assert_fits(observed: np.ndarray, expected: np.ndarray) -> None:
    """Chi-square at z=4 above its mean (normal approximation; enough cells and counts)."""
    statistic, freedom = float(((observed - expected) ** 2 / expected).sum()), len(observed) - 1
    assert statistic < freedom + 4 * np.sqrt(2 * freedom) + 4


@functools.cache
def token_sampler():
    return jax.jit(jax.vmap(sample_tokens))


@functools.cache
def span_sampler(success: float | None = None):
    """Whole words where `success` is None, otherwise spans of 1 to 10 words."""

    def sample(word, eligible, budget, key):
        order_key, length_key = jax.random.split(key)
        lengths = jnp.ones(len(word), jnp.int32)
        if success is not None:
            lengths = geometric_lengths(len(word), success, 10, length_key)
        return sample_spans(find_words(word, eligible), lengths, budget, order_key)

    return jax.jit(jax.vmap(sample))


@functools.cache
def ngram_sampler(goal: int, unit: str):
    def sample(word, eligible, key):
        return sample_ngrams(find_words(word, eligible), eligible, goal, 6.0, 5, key, unit=unit)

    return jax.jit(jax.vmap(sample))


def spans(word, eligible, budget, success=None, seed=0):
    rows = len(word)
    budgets = jnp.broadcast_to(jnp.asarray(budget, jnp.int32), (rows,))
    chosen, first = span_sampler(success)(jnp.asarray(word), jnp.asarray(eligible), budgets, keys(rows, seed))
    return np.asarray(chosen), np.asarray(first)


def ngrams(word, eligible, goal, unit, seed=0):
    return np.asarray(ngram_sampler(goal, unit)(jnp.asarray(word), jnp.asarray(eligible), keys(len(word), seed)))


def words_of(word: np.ndarray, eligible: np.ndarray) -> list[list[int]]:
    """Maximal stretches of eligible neighbors with one word number."""
    found = []
    for i in np.flatnonzero(eligible).tolist():
        if found and found[-1][-1] == i - 1 and word[i] == word[i - 1]:
            found[-1].append(i)
        else:
            found.append([i])
    return found


WORDS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=12, max_size=12)
"""Twelve tokens: (0 starts a word, anything else continues one; is it eligible)."""


def word_row(tokens: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    eligible = np.array([e for _, e in tokens])
    word = np.cumsum([step == 0 for step, _ in tokens]).astype(np.int32)
    return np.where(eligible, word, -1).astype(np.int32), eligible


@given(tokens=WORDS)
def test_find_words_lists_the_words_and_the_barriers(tokens):
    word, eligible = word_row(tokens)
    expected, length = words_of(word, eligible), len(word)
    found = find_words(jnp.asarray(word), jnp.asarray(eligible))
    starts = [w[0] for w in expected]
    assert found.start.tolist() == starts + [length] * (length + 1 - len(starts))
    assert found.at_or_after.tolist() == [sum(s < i for s in starts) for i in range(length + 1)]
    walls = [*np.flatnonzero(~eligible).tolist(), length]
    assert found.barrier.tolist() == [min(wall for wall in walls if wall >= i) for i in range(length + 1)]


@given(flags=st.lists(st.booleans(), min_size=9, max_size=9), slots=st.integers(1, 12))
def test_predictions_are_the_chosen_positions_ascending_then_slots_of_weight_zero(flags, slots):
    at, weights = jax.jit(predictions, static_argnums=1)(jnp.asarray(flags), slots)
    chosen = np.flatnonzero(flags)[:slots]
    assert at[: len(chosen)].tolist() == chosen.tolist()
    assert weights.tolist() == [1.0] * len(chosen) + [0.0] * (slots - len(chosen))


@given(flags=st.lists(st.booleans(), min_size=10, max_size=10), count=st.integers(0, 12), seed=st.integers(0, 99))
def test_exactly_count_eligible_tokens_are_sampled_or_all_of_them(flags, count, seed):
    eligible = np.array([flags])
    chosen = np.asarray(token_sampler()(jnp.asarray(eligible), jnp.asarray([count]), keys(1, seed)))
    assert not (chosen & ~eligible).any()
    assert chosen.sum() == min(count, eligible.sum())


def test_every_subset_of_eligible_tokens_is_equally_likely():
    eligible = jnp.asarray([True, False, True, True, True, False, True])
    rows = 20000
    chosen = token_sampler()(jnp.tile(eligible, (rows, 1)), jnp.full(rows, 2), keys(rows))
    subset, observed = np.unique(np.asarray(chosen), axis=0, return_counts=True)
    assert len(subset) == 10  # 5 choose 2
    assert_fits(observed, np.full(10, rows / 10))


def test_geometric_lengths_have_the_truncated_geometric_distribution_and_the_paper_s_mean():
    count = 200_000
    drawn = np.asarray(geometric_lengths(count, 0.2, 10, jax.random.key(1)))
    odds = 0.2 * 0.8 ** np.arange(10)
    assert_fits(np.bincount(drawn, minlength=11)[1:], count * odds / odds.sum())
    assert drawn.mean() == np.clip(drawn.mean(), 3.78, 3.82)  # 3.8 words; the standard error is 0.006


@given(tokens=WORDS, budget=st.integers(1, 12), success=st.sampled_from([None, 0.2]), seed=st.integers(0, 99))
def test_spans_are_unions_of_whole_words_within_the_budget(tokens, budget, success, seed):
    word, eligible = word_row(tokens)
    (chosen,), (first,) = spans(word[None], eligible[None], budget, success, seed)
    assert chosen.sum() <= budget
    assert not (chosen & ~eligible).any()
    for positions in words_of(word, eligible):
        assert len(set(chosen[positions])) == 1
        assert len(set(first[positions])) == 1 or not chosen[positions[0]]
    for i in np.flatnonzero(chosen):  # all tokens from the first of a span to this one belong to it
        assert first[i] <= i and (first[first[i] : i + 1] == first[i]).all() and chosen[first[i] : i + 1].all()


@given(tokens=WORDS, seed=st.integers(0, 99))
def test_whole_words_leave_over_only_what_no_further_word_fits(tokens, seed):
    word, eligible = word_row(tokens)
    budget = 5
    (chosen,), _ = spans(word[None], eligible[None], budget, None, seed)
    left_out = [len(w) for w in words_of(word, eligible) if not chosen[w[0]]]
    assert all(size > budget - chosen.sum() for size in left_out)


def test_words_of_one_piece_are_sampled_as_tokens_are():
    eligible = np.tile([True, False, True, True, True, False, True], (20000, 1))
    chosen, first = spans(np.where(eligible, np.arange(7), -1).astype(np.int32), eligible, 2)
    assert (chosen.sum(axis=1) == 2).all()
    assert (first == np.arange(7)).all()
    subset, observed = np.unique(chosen, axis=0, return_counts=True)
    assert len(subset) == 10
    assert_fits(observed, np.full(10, len(chosen) / 10))


def test_whole_words_of_equal_size_are_equally_likely():
    rows = 20000
    word = np.tile(np.repeat(np.arange(6), 2), (rows, 1)).astype(np.int32)
    chosen, _ = spans(word, np.ones_like(word, bool), 5)  # two words fit, one token is left over
    assert (chosen.sum(axis=1) == 4).all()
    assert_fits(chosen[:, ::2].sum(axis=0), np.full(6, rows / 3))


def test_the_first_span_has_the_length_drawn_for_it_where_the_budget_and_the_row_do_not_bind():
    rows, length = 20000, 41
    word = np.tile(np.arange(length), (rows, 1)).astype(np.int32)

    def take_one(word, lengths, key):
        lengths = jnp.where(jnp.arange(length) == 0, lengths, length)  # the budget skips all but the first
        return sample_spans(find_words(word, jnp.ones(length, bool)), lengths, lengths[0], key)

    lengths = jax.vmap(lambda key: geometric_lengths(length, 0.2, 10, key))(keys(rows, 1))
    chosen, first = (np.asarray(x) for x in jax.jit(jax.vmap(take_one))(jnp.asarray(word), lengths, keys(rows, 2)))
    begin, size = chosen.argmax(axis=1), chosen.sum(axis=1)
    whole = begin <= length - 10  # the end of the row cannot have cut the span
    assert (first[chosen] == np.repeat(begin, size)).all()
    odds = 0.2 * 0.8 ** np.arange(10)
    assert_fits(np.bincount(size[whole], minlength=11)[1:], whole.sum() * odds / odds.sum())


def test_a_span_ends_at_the_first_ineligible_token():
    word = np.tile([0, 1, 2, -1, 3, 4, 5, -1, 6, 7], (2000, 1)).astype(np.int32)
    chosen, first = spans(word, word >= 0, 8, success=0.01)
    walled = np.array([0, 0, 0, -1, 1, 1, 1, -1, 2, 2])
    for row, begin in zip(chosen, first, strict=True):
        assert (walled[begin[row]] == walled[row]).all()
    assert chosen[:, 8:].any(axis=1).mean() > 0.5  # short stretches are not lost to long draws


def test_ngrams_begin_at_word_starts_and_have_lengths_proportional_to_one_over_n():
    word = random_words(6000, 256, 0.7)
    chosen = ngrams(word, np.ones_like(word, bool), 42, "piece")
    starts = np.diff(word, axis=1, prepend=-1) != 0
    found = [runs(row) for row in chosen]  # at least one token of context lies between two n-grams
    assert all(starts[b, begin] for b, row in enumerate(found) for begin, _ in row)
    first = np.array([row[0][1] - row[0][0] for row in found])  # neither goal nor row cut it
    odds = 1 / np.arange(1, 6)
    assert_fits(np.bincount(first, minlength=6)[1:], len(first) * odds / odds.sum())


def test_ngrams_of_a_half_have_the_release_s_mean_length_and_share_of_the_goal():
    for start_rate in (1.0, 0.75, 0.6):
        word = random_words(2000, 256, start_rate)
        chosen = ngrams(word, np.ones_like(word, bool), 42, "piece")
        sizes = [end - begin for row in chosen for begin, end in runs(row)]
        assert abs(np.mean(sizes) - 2.16) < 0.03
        assert 0.82 < chosen.sum() / (len(chosen) * 42) < 0.87
        assert not chosen[:, -1].any() and (chosen.sum(axis=1) <= 42).all()


def test_the_first_ngram_lies_anywhere_within_its_context():
    word = np.tile(np.arange(64), (30000, 1)).astype(np.int32)
    chosen = ngrams(word, np.ones_like(word, bool), 10, "piece")
    begin = chosen.argmax(axis=1)
    size = np.array([runs(row)[0][1] - runs(row)[0][0] for row in chosen[:, :40]])
    for n in range(1, 6):
        within = begin[size == n]
        assert_fits(np.bincount(within, minlength=6 * n), np.full(6 * n, len(within) / (6 * n)))


@given(tokens=WORDS, goal=st.sampled_from([1, 3, 6]), unit=st.sampled_from(["piece", "word"]), seed=st.integers(0, 99))
def test_ngrams_never_exceed_the_goal_and_word_ngrams_are_unions_of_whole_words(tokens, goal, unit, seed):
    word, eligible = word_row(tokens)
    (chosen,) = ngrams(word[None], eligible[None], goal, unit, seed)
    assert chosen.sum() <= goal
    assert not (chosen & ~eligible).any()
    if unit == "word":
        assert all(len(set(chosen[positions])) == 1 for positions in words_of(word, eligible))


def test_word_ngrams_nearly_reach_the_goal_on_words_like_those_of_text():
    word = random_words(2000, 256, 0.7)
    chosen = ngrams(word, np.ones_like(word, bool), 42, "word")
    assert (chosen.sum(axis=1) <= 42).all()
    assert chosen.sum() / (len(chosen) * 42) > 0.9
    assert all(chosen[b, i] == chosen[b, i + 1] for b, i in np.argwhere(np.diff(word, axis=1) == 0))
