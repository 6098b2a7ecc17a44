"""Masked diffusion: how many tokens are hidden, what they weigh, and that its loss is any-order autoregression's."""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batch import VOID, InputError, Output
from evaluation.mass import training_mass
from models.visibility import visible
from objectives import MaskedDiffusion, PermutationLm, any_order_lm
from scoring import VOCAB as LETTERS
from scoring import enumerated
from test_prefix import awkward, prepared
from texts import VOCAB, batch_of, eligible, random_batch

ROW = np.array([VOCAB.cls, 11, 12, 13, 14, VOCAB.sep])  # two specials, and N tokens that may be hidden
PLACES, N = (1, 2, 3, 4), 4
SUBSETS = [frozenset(chosen) for k in range(1, N + 1) for chosen in itertools.combinations(PLACES, k)]
DRAWS = 6000


@functools.cache
def drawn(objective):
    """The same row, corrupted in as many ways as there are draws."""
    return prepared(objective, batch_of(np.tile(ROW, (DRAWS, 1))))


def hidden_sets() -> list[frozenset[int]]:
    inputs, targets = drawn(MaskedDiffusion())
    return [frozenset(p[w > 0].tolist()) for p, w in zip(inputs.predict, targets.weights, strict=True)]


def assert_frequencies(observed: list[int], shares: list[float]) -> None:
    """The chi-square statistic is within four deviations of what chance gives."""
    expected = np.array(shares) * sum(observed)
    statistic, freedom = ((np.array(observed) - expected) ** 2 / expected).sum(), len(shares) - 1
    assert abs(sum(shares) - 1) < 1e-9 and statistic < freedom + 4 * np.sqrt(2 * freedom)


def share(hidden: frozenset[int]) -> float:
    """The probability of a set: its size is uniform on 1 ... N, and so is the set given its size."""
    return 1 / (N * math.comb(N, len(hidden)))


def test_every_number_of_hidden_tokens_is_equally_likely_and_every_choice_of_so_many():
    found = hidden_sets()
    assert_frequencies([found.count(each) for each in SUBSETS], [share(each) for each in SUBSETS])


def test_hidden_tokens_weigh_n_over_k_stand_behind_mask_and_nothing_else_changes():
    batch = awkward(500)
    inputs, targets = prepared(MaskedDiffusion(), batch)
    number, used = eligible(batch).sum(axis=1), targets.weights > 0
    assert (used.any(axis=1) == (number > 0)).all()
    np.testing.assert_allclose(targets.weights.sum(axis=1), number, rtol=1e-6)
    for row, (weights, own) in enumerate(zip(targets.weights, used, strict=True)):
        np.testing.assert_allclose(weights[own], number[row] / max(own.sum(), 1), rtol=1e-6)
        places, expected = inputs.predict[row][own], batch.tokens[row].copy()
        assert len(set(places)) == own.sum() and eligible(batch)[row, places].all()
        np.testing.assert_array_equal(targets.labels[row][own], expected[places])
        expected[places] = VOCAB.mask
        np.testing.assert_array_equal(inputs.tokens[row], expected)
    np.testing.assert_array_equal(inputs.order, np.where(batch.document > 0, 0, VOID))


def test_the_loss_is_in_nats_per_eligible_token_whatever_is_hidden():
    class Uniform:
        logits = staticmethod(lambda hidden: hidden @ np.zeros((2, 8), np.float32))

    batch = random_batch(40, 20)
    _, targets = prepared(MaskedDiffusion(), batch)
    targets = jax.tree.map(jnp.asarray, targets)
    output = Output(hidden=jnp.zeros((*targets.labels.shape, 2)))
    losses, _ = MaskedDiffusion().loss(Uniform(), output, targets.replace(labels=targets.labels % 8))
    np.testing.assert_allclose(losses["loss"].weight, eligible(batch).sum(), rtol=1e-6)
    np.testing.assert_allclose(losses["loss"].value(), np.log(8), rtol=1e-6)


def surprises() -> dict[tuple[int, frozenset[int]], float]:
    """-log p of the token at each place given each set of visible places: any numbers, which no model relates."""
    rng = np.random.default_rng(0)
    return {
        (i, frozenset(seen)): float(rng.exponential())
        for i in PLACES
        for k in range(N)
        for seen in itertools.combinations([j for j in PLACES if j != i], k)
    }


def test_every_order_of_any_order_autoregression_is_equally_likely_and_asks_for_every_token():
    found = orders()
    assert_frequencies([found.count(each) for each in itertools.permutations(PLACES)], [1 / math.factorial(N)] * 24)


def orders() -> list[tuple[int, ...]]:
    inputs, targets = drawn(any_order_lm())
    assert ((targets.weights > 0).sum(axis=1) == N).all() and (inputs.order[:, [0, 5]] == 0).all()
    return [tuple(np.argsort(order[1:5]) + 1) for order in inputs.order]


def diffusion_loss(surprise) -> float:
    """What MaskedDiffusion's weights make of each set that it hides, over its distribution."""
    _, targets = drawn(MaskedDiffusion())
    weight = dict(zip(hidden_sets(), targets.weights.max(axis=1), strict=True))
    assert set(weight) == set(SUBSETS)
    total = sum(
        share(hidden) * weight[hidden] * surprise[i, frozenset(PLACES) - hidden] for hidden in SUBSETS for i in hidden
    )
    return total / sum(share(hidden) * weight[hidden] * len(hidden) for hidden in SUBSETS)


def order_losses(surprise) -> list[float]:
    """Minus the log-likelihood in each order that any_order_lm draws, by what its query stream sees."""
    inputs, _ = drawn(any_order_lm())
    first = np.unique(np.array(orders()), axis=0, return_index=True)[1]
    few = jax.tree.map(lambda x: jnp.asarray(x)[first], inputs)
    seen = np.asarray(visible(few, few.predict, None, strict=few.blind[:, None]))[:, 0]
    assert len(first) == math.factorial(N)
    return [
        sum(
            surprise[int(i), frozenset(np.flatnonzero(by).tolist()) & frozenset(PLACES)]
            for i, by in zip(places, own, strict=True)
            if i in PLACES
        )
        for places, own in zip(np.asarray(few.predict)[:, :N], seen[:, :N], strict=True)
    ]


def test_the_loss_is_that_of_any_order_autoregression_for_every_model():
    """Enumerated over all sets and all orders (Uria et al. 2014; Liao et al. 2020); and it bounds a likelihood."""
    surprise = surprises()
    losses = order_losses(surprise)
    np.testing.assert_allclose(diffusion_loss(surprise), np.mean(losses) / N, rtol=1e-6)
    assert -np.log(np.mean(np.exp(-np.array(losses)))) / N < diffusion_loss(surprise)


@pytest.mark.parametrize(("objective", "error"), [(MaskedDiffusion(), 0.07), (any_order_lm(), 0.0)], ids=str)
def test_every_number_of_visible_tokens_is_trained_on_alike(objective, error):
    mass = training_mass(objective, LETTERS, enumerated())
    np.testing.assert_allclose(mass, np.full(N, 1 / N), atol=error)


def test_any_order_autoregression_is_the_permutation_model_of_one_in_one():
    assert any_order_lm() == PermutationLm(predict_one_in=1, spans="token", specials_seen=True)
    assert any_order_lm(reuse=4).reuse == 4
    batch = awkward(300)
    inputs, targets = prepared(any_order_lm(), batch)
    asked = np.zeros(batch.tokens.shape, bool)
    used = targets.weights > 0
    asked[np.nonzero(used)[0], inputs.predict[used]] = True
    np.testing.assert_array_equal(asked, eligible(batch))
    given = (batch.document > 0) & ~asked
    assert (inputs.order[given] == 0).all() and (inputs.order[asked] > 0).all()
    assert all(len(set(order[own])) == own.sum() for order, own in zip(inputs.order, asked, strict=True))


@pytest.mark.parametrize("objective", [MaskedDiffusion(), any_order_lm()], ids=["diffusion", "any-order"])
def test_rows_of_padding_and_rows_of_specials_have_no_targets(objective):
    batch = batch_of(np.array([[0] * 5, [VOCAB.sep] * 5]), np.array([[0] * 5, [1] * 5]))
    inputs, targets = prepared(objective, batch)
    assert not targets.weights.any() and not targets.labels.any()
    np.testing.assert_array_equal(inputs.tokens, batch.tokens)


def test_a_vocabulary_without_mask_is_refused():
    with pytest.raises(InputError, match=r"vocab\.mask=None: MaskedDiffusion hides"):
        MaskedDiffusion().prepare(random_batch(1, 8), dataclasses.replace(VOCAB, mask=None), jax.random.key(0))
