"""The masks of dropout are as independent as they claim to be, and the arithmetic is that of the paper's words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers import dropout
from models.noise import kept, mixed, places

SHAPE = (64, 32, 128)


def masks(rate: float, count: int = 8) -> np.ndarray:
    """Masks of neighboring keys, dropped entries as 1."""
    keys = [jax.random.fold_in(jax.random.key(0), i) for i in range(count)]
    return np.stack([~np.asarray(jax.jit(kept, static_argnums=(1, 2))(key, rate, SHAPE)) for key in keys])


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_every_part_of_a_mask_is_dropped_at_the_rate(rate):
    """Sums over each axis lie about their mean as sums of independent draws do."""
    dropped = masks(rate)
    for axes in [(0, 1, 2, 3), (1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2)]:
        sums = dropped.sum(axis=axes)
        number = dropped.size / max(sums.size, 1)
        score = (sums - number * rate) / np.sqrt(number * rate * (1 - rate))
        assert np.abs(score).max() < 5
        assert sums.size < 8 or 0.3 < np.square(score).mean() < 2.2


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_no_two_entries_know_of_each_other(rate):
    """Correlations between masks of neighboring keys, and of entries at many distances within one, are noise."""
    centered = masks(rate).reshape(8, -1) - rate
    scale = rate * (1 - rate) * np.sqrt(centered.shape[1])
    pairs = [float(a @ b) for i, a in enumerate(centered) for b in centered[:i]]
    pairs += [float(centered[0] @ np.roll(centered[0], k)) for k in (*range(1, 40), 64, 128, 4096, 2**14, 2**16)]
    assert np.abs(pairs).max() < 5 * scale


def test_masks_that_meet_after_the_first_word_part_after_the_second(monkeypatch):
    """Windows of one counter overlap sooner or later: with another second word nothing of that is left."""
    words = iter(([7, 1], [7, 2]))
    monkeypatch.setattr(jax.random, "bits", lambda *_: jnp.array(next(words), jnp.uint32))
    one, other = (np.asarray(kept(jax.random.key(0), 0.5, SHAPE)) for _ in range(2))
    assert abs((one == other).mean() - 0.5) < 0.01


def test_indices_count_the_entries_and_mixing_loses_none():
    np.testing.assert_array_equal(places((3, 4, 5)), np.arange(60).reshape(3, 4, 5))
    assert len(np.unique(np.asarray(mixed(jnp.arange(2**20, dtype=jnp.uint32))))) == 2**20

    def by_hand(x: int) -> int:
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            x = (x ^ (x >> shift)) * factor % 2**32
        return x ^ (x >> 16)

    words = [0, 1, 2**31, 2**32 - 1, 123456789]
    assert mixed(jnp.array(words, jnp.uint32)).tolist() == [by_hand(x) for x in words]


def test_dropout_keeps_the_mean_and_nothing_between():
    x = jnp.full(SHAPE, 3.0)
    dropped = np.asarray(dropout(x, 0.25, jax.random.key(1)))
    assert set(np.unique(dropped)) == {0.0, 4.0}
    assert abs(dropped.mean() - 3) < 0.02
