"""Orders: who sees whom, against an independent statement of XLNet's rule, and that no target sees itself."""

import dataclasses
import functools

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from batch import VOID, Vocab
from objectives import PermutationLm
from texts import batch_of

VOCAB = Vocab(size=40, special=(0, 1, 2), pad=0, cls=1, sep=2)
HALVES = PermutationLm(num_predict=8, reuse=12, perm_size=6)


@functools.cache
def prepared(objective: PermutationLm):
    return jax.jit(lambda batch, key: objective.prepare(batch, VOCAB, key))


def permute(objective: PermutationLm, tokens: np.ndarray, seed: int = 0):
    """The batch's orders, and which tokens are targets."""
    batch = batch_of(tokens, (tokens != VOCAB.pad).astype(int))
    inputs, targets = jax.tree.map(np.asarray, prepared(objective)(batch, jax.random.key(seed)))
    used, chosen = targets.weights > 0, np.zeros(tokens.shape, bool)
    chosen[np.nonzero(used)[0], inputs.predict[used]] = True
    return inputs.order, chosen


def random_rows(rows: int = 300, length: int = 24, seed: int = 0) -> np.ndarray:
    """Text with [SEP] and [CLS] strewn in, and no padding."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((rows, length)) < 0.15, rng.integers(1, 3, (rows, length)), 20)


def content(order: np.ndarray) -> np.ndarray:
    """Who sees whom in the content stream: [i, j]."""
    return (order[None, :] <= order[:, None]) & (order[None, :] != VOID)


def query(order: np.ndarray) -> np.ndarray:
    return (order[None, :] < order[:, None]) & (order[None, :] != VOID)


def hidden_by_the_release(tokens: np.ndarray, masked: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """True where i may not attend to j within one half, stated pair by pair (Yang et al. 2019, sections 2.2 to 2.3).

    Everyone sees context. Context sees nothing else; a target sees what comes before it in the order, a special
    token itself, too.
    """
    length = len(tokens)
    special = np.isin(tokens, (VOCAB.sep, VOCAB.cls))
    hidden = np.zeros((length, length), bool)
    for i in range(length):
        for j in range(length):
            if not masked[j] and not special[j]:
                sees = True
            elif special[i]:
                sees = rank[j] <= rank[i]
            else:
                sees = bool(masked[i]) and rank[j] < rank[i]
            hidden[i, j] = not sees
    return hidden


def hidden_in_two_halves(tokens, masked, ranks, reuse: int) -> np.ndarray:
    first = hidden_by_the_release(tokens[:reuse], masked[:reuse], ranks[0])
    second = hidden_by_the_release(tokens[reuse:], masked[reuse:], ranks[1])
    above = np.ones((reuse, len(tokens) - reuse), bool)
    return np.block([[first, above], [np.zeros_like(above.T), second]])


def assert_masks_are_the_release_s(order: np.ndarray, masked: np.ndarray, hidden: np.ndarray) -> None:
    """The content stream sees itself besides; the query stream matters at targets only."""
    np.testing.assert_array_equal(content(order), ~hidden | np.eye(len(order), dtype=bool))
    np.testing.assert_array_equal(query(order)[masked], ~hidden[masked])


class Fixed(PermutationLm):
    """Targets 3 and 4, in the order of the text."""

    def choose(self, word, allowed, goal, key):
        return np.isin(np.arange(len(word)), (3, 4))

    def ranks(self, length, key):
        return np.arange(length)


GOLDEN = ["001111", "001111", "000111", "000111", "000011", "000000"]


def test_the_release_s_worked_example_is_met_bit_for_bit():
    tokens, masked = np.array([10, 20, VOCAB.sep, 30, 31, VOCAB.sep]), np.isin(np.arange(6), (3, 4))
    golden = np.array([[bit == "1" for bit in row] for row in GOLDEN])
    np.testing.assert_array_equal(hidden_by_the_release(tokens, masked, np.arange(6)), golden)
    (order,), (chosen,) = permute(Fixed(num_predict=2), tokens[None])
    np.testing.assert_array_equal(chosen, masked)
    assert_masks_are_the_release_s(order, masked, golden)


def test_orders_are_the_release_s_masks_within_a_window():
    tokens = random_rows()
    for row, order, masked in zip(tokens, *permute(PermutationLm(num_predict=6), tokens), strict=True):
        assert_masks_are_the_release_s(order, masked, hidden_by_the_release(row, masked, order))


def test_orders_are_the_release_s_masks_over_two_halves():
    tokens = random_rows(seed=1)
    for row, order, masked in zip(tokens, *permute(HALVES, tokens), strict=True):
        assert_masks_are_the_release_s(order, masked, hidden_in_two_halves(row, masked, (order[:12], order[12:]), 12))


def test_context_and_the_order_s_two_halves_have_their_documented_places():
    tokens = random_rows()
    orders, chosen = permute(HALVES, tokens)
    later = chosen | (tokens < 3)
    for half, least in ((slice(0, 12), 0), (slice(12, 24), 13)):
        assert (orders[:, half][~later[:, half]] == least).all()
        inside = orders[:, half][later[:, half]]
        assert inside.min() > least and inside.max() <= least + 12
    for order, ranked in zip(orders, later, strict=True):
        assert len(set(order[ranked].tolist())) == ranked.sum()


def reachable(sees: np.ndarray) -> np.ndarray:
    """What information may have come from, over any number of layers: the transitive closure."""
    closure = sees | np.eye(len(sees), dtype=bool)
    while (wider := (closure.astype(int) @ closure.astype(int)) > 0).sum() > closure.sum():
        closure = wider
    return closure


OBJECTIVES = {
    "whole": PermutationLm(num_predict=6),
    "seen": PermutationLm(num_predict=6, specials_seen=True),
    "token": PermutationLm(num_predict=6, spans="token"),
    "word": PermutationLm(num_predict=6, unit="word"),
    "halves": HALVES,
    "blocks": PermutationLm(num_predict=24, perm_size=4),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_over_any_number_of_layers_no_target_reaches_itself_or_a_later_one(name):
    objective, tokens = OBJECTIVES[name], random_rows(seed=2)
    for order, masked in zip(*permute(objective, tokens), strict=True):
        reached = (query(order).astype(int) @ reachable(content(order)).astype(int)) > 0
        later = masked[:, None] & masked[None, :] & (order[None, :] >= order[:, None])
        assert not (reached & later).any()


def crosses(order: np.ndarray, reuse: int) -> bool:
    return bool(reachable(content(order))[:reuse, reuse:].any())


def test_the_first_half_never_sees_the_second_and_the_second_sees_all_of_the_first():
    orders, _ = permute(HALVES, random_rows())
    assert not any(crosses(order, 12) for order in orders)
    assert all(content(order)[12:, :12].all() and query(order)[12:, :12].all() for order in orders)


def test_one_permutation_over_the_whole_window_would_fail_the_isolation_of_halves():
    orders, _ = permute(dataclasses.replace(HALVES, reuse=None, perm_size=None), random_rows())
    assert all(crosses(order, 12) for order in orders)


def test_blocks_share_one_permutation_and_stay_in_their_order():
    objective = PermutationLm(num_predict=24, perm_size=6)
    orders, chosen = permute(objective, np.full((300, 24), 20))
    assert chosen.all()  # every token is ranked
    blocks = orders.reshape(300, 4, 6) - 1 - 6 * np.arange(4)[:, None]
    assert (np.sort(blocks, axis=2) == np.arange(6)).all()
    assert (blocks == blocks[:, :1]).all()


def test_halves_have_permutations_of_their_own():
    orders, _ = permute(PermutationLm(num_predict=24, reuse=12), np.full((300, 24), 20))
    assert (np.argsort(orders[:, :12]) == np.argsort(orders[:, 12:])).all(axis=1).sum() == 0


def test_every_position_has_every_rank_equally_often():
    rows = 6000
    orders, _ = permute(PermutationLm(num_predict=8), np.full((rows, 8), 20))
    for position in range(8):
        observed = np.bincount(orders[:, position] - 1, minlength=8)
        assert ((observed - rows / 8) ** 2 / (rows / 8)).sum() < 7 + 4 * np.sqrt(14) + 4


def test_of_two_targets_or_specials_exactly_one_sees_the_other():
    tokens = random_rows()
    for row, order, masked in zip(tokens, *permute(HALVES, tokens), strict=True):
        for half in (slice(0, 12), slice(12, 24)):
            ranked = np.flatnonzero(masked[half] | (row[half] < 3))
            sees = query(order[half])[np.ix_(ranked, ranked)]
            np.testing.assert_array_equal(sees ^ sees.T, ~np.eye(len(ranked), dtype=bool))


def test_specials_are_seen_by_all_only_where_asked():
    tokens = random_rows()
    for seen in (True, False):
        objective = PermutationLm(num_predict=6, specials_seen=seen)
        for row, order, masked in zip(tokens, *permute(objective, tokens), strict=True):
            context = ~masked & (row >= 3)
            to_specials = content(order)[np.ix_(context, row < 3)]
            assert to_specials.all() if seen else not to_specials.any()
            assert content(order)[:, context].all() and not content(order)[np.ix_(context, masked)].any()


@hypothesis.settings(max_examples=30)
@hypothesis.given(real=st.integers(0, 24), seed=st.integers(0, 20))
def test_padding_is_seen_by_nobody(real, seed):
    tokens = np.where(np.arange(24) < real, random_rows(1, seed=seed), VOCAB.pad)
    (order,), (masked,) = permute(HALVES, tokens, seed)
    assert (order[real:] == VOID).all() and not masked[real:].any()
    assert not content(order)[:, real:].any() and (order[:real] < VOID).all()
