"""What the models give are probabilities: found by enumerating everything that could have been written."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from batch import VOID, Memory
from cases import MODELS, SIZE, given, read
from models import XlnetConfig

V, T = 5, 3
WRITTEN = np.array(list(itertools.product(range(V), repeat=T)), np.int32)  # every assignment of the targets
ORDERS = list(itertools.permutations(range(T)))
MEMORIES = {
    "no memory": XlnetConfig(**SIZE),
    "an invisible memory": XlnetConfig(**SIZE, memory_length=4, empty_memory="masked"),
    "zeros": XlnetConfig(**SIZE, memory_length=4, empty_memory="zeros"),
    "a real memory": XlnetConfig(**SIZE, memory_length=4),
}


def remembered(name: str, batch_size: int, seed: int = 0) -> Memory | None:
    """The memory that goes with a key of MEMORIES; None stands for what a run starts with."""
    if name != "a real memory":
        return None
    hidden = np.random.default_rng(seed).normal(size=(SIZE["num_layers"], 1, 4, SIZE["model_dim"]))
    return Memory(
        hidden=jnp.asarray(np.repeat(hidden, batch_size, axis=1), jnp.float32),
        valid=jnp.ones((batch_size, 4), bool),
        document=jnp.ones((batch_size, 4), jnp.int32),
    )


def permuted(targets: np.ndarray, order: tuple[int, ...], context: int, **fields):
    """Inputs of `context` fixed tokens and then the targets, whose factorization order is given."""
    tokens = np.concatenate([np.ones((len(targets), context), np.int32), targets], axis=1)
    ranks = np.concatenate([np.zeros(context, np.int32), 1 + np.array(order, np.int32)])
    return given(ranks, tokens, np.arange(context, context + T), query_stream=True, **fields)


def log_likelihood(name: str, inputs, targets: np.ndarray) -> np.ndarray:
    """Log p of each target, given what its place in the order shows [B T]."""
    _, log_p = read(MEMORIES[name], inputs, remembered(name, len(targets)), vocab_size=V)
    return np.take_along_axis(np.asarray(log_p, np.float64), targets[:, :, None], axis=2)[..., 0]


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("name", MEMORIES)
def test_permutation_lm_is_a_distribution_for_every_order(name, context):
    totals = [np.exp(log_likelihood(name, permuted(WRITTEN, o, context), WRITTEN).sum(axis=1)).sum() for o in ORDERS]
    np.testing.assert_allclose(totals, 1, atol=1e-5)


@pytest.mark.parametrize("model", ["bert", "gpt", "xlnet", "xlnet_memory"])
@pytest.mark.parametrize("backward", [False, True])
def test_causal_lm_is_a_distribution(model, backward):
    given_token = np.ones((len(WRITTEN), 1), np.int32)
    index = np.arange(T + 1)
    if backward:
        inputs = given(index[::-1], np.concatenate([WRITTEN, given_token], axis=1), index[1:])
    else:
        inputs = given(index, np.concatenate([given_token, WRITTEN], axis=1), index[:-1])
    _, log_p = read(MODELS[model], inputs, vocab_size=V)
    chosen = np.take_along_axis(np.asarray(log_p, np.float64), WRITTEN[:, :, None], axis=2)[..., 0]
    np.testing.assert_allclose(np.exp(chosen.sum(axis=1)).sum(), 1, atol=1e-5)


@pytest.mark.parametrize("model", ["bert", "xlnet"])
def test_masked_lm_is_the_product_of_its_marginals_whatever_was_hidden(model):
    shown = np.full_like(WRITTEN, 0)  # 0 stands for [MASK]: what was written there never reaches the model
    tokens = np.concatenate([shown, np.ones((len(WRITTEN), 1), np.int32)], axis=1)
    _, log_p = read(MODELS[model], given(0, tokens, np.arange(T)), vocab_size=V)
    np.testing.assert_array_equal(log_p, np.broadcast_to(np.asarray(log_p)[:1], log_p.shape))
    chosen = np.take_along_axis(np.asarray(log_p, np.float64), WRITTEN[:, :, None], axis=2)[..., 0]
    joint = np.exp(chosen.sum(axis=1)).reshape((V,) * T)
    np.testing.assert_allclose(joint.sum(), 1, atol=1e-5)
    marginals = [joint.sum(axis=tuple(a for a in range(T) if a != t)) for t in range(T)]
    np.testing.assert_allclose(joint, np.einsum("a,b,c->abc", *marginals), atol=1e-6)


def test_pseudo_log_likelihood_is_no_likelihood():
    total = np.zeros(len(WRITTEN))
    for t in range(T):
        tokens = WRITTEN.copy()
        tokens[:, t] = 0
        _, log_p = read(MODELS["bert"], given(0, tokens, [t]), vocab_size=V)
        total += np.take_along_axis(np.asarray(log_p, np.float64)[:, 0], WRITTEN[:, t : t + 1], axis=1)[:, 0]
    assert abs(np.exp(total).sum() - 1) > 1e-3


@pytest.mark.parametrize("name", MEMORIES)
@pytest.mark.parametrize("context", [0, 2])
def test_one_pass_of_two_streams_equals_one_pass_for_each_target(name, context):
    rng = np.random.default_rng(1)
    for order in ORDERS:
        targets = rng.integers(0, V, (8, T)).astype(np.int32)
        at_once = log_likelihood(name, permuted(targets, order, context), targets)
        for t in range(T):
            unrevealed = np.array(order) >= order[t]
            dummies = np.where(unrevealed, rng.integers(0, V, targets.shape), targets).astype(np.int32)
            alone = log_likelihood(name, permuted(dummies, order, context), targets)
            np.testing.assert_allclose(alone[:, t], at_once[:, t], atol=1e-5)
            # Later targets may as well not be there; the one that is asked keeps its place for its distance only.
            absent = np.concatenate([np.zeros(context, bool), np.array(order) > order[t]])
            inputs = permuted(dummies, order, context)
            inputs = inputs.replace(order=jnp.where(jnp.asarray(absent)[None], VOID, inputs.order))
            inputs = inputs.replace(document=jnp.where(jnp.asarray(absent)[None], 0, inputs.document))
            np.testing.assert_allclose(log_likelihood(name, inputs, targets)[:, t], at_once[:, t], atol=1e-5)


def test_the_natural_order_is_an_autoregression_from_left_to_right():
    targets = np.random.default_rng(2).integers(0, V, (8, T)).astype(np.int32)
    at_once = log_likelihood("no memory", permuted(targets, (0, 1, 2), 0), targets)
    for t in range(T):  # the text ends where the query stands
        inputs = given(np.arange(t + 1), targets[:, : t + 1], [t], query_stream=True)
        _, log_p = read(MEMORIES["no memory"], inputs, vocab_size=V)
        alone = np.take_along_axis(np.asarray(log_p)[:, 0], targets[:, t : t + 1], axis=1)[:, 0]
        np.testing.assert_allclose(alone, at_once[:, t], atol=1e-5)


@pytest.mark.parametrize(("num_layers", "depends"), [(1, False), (3, True)])
def test_the_order_of_what_is_revealed_matters_through_its_content_states_only(num_layers, depends):
    config = XlnetConfig(**{**SIZE, "num_layers": num_layers})
    targets = np.random.default_rng(3).integers(0, V, (8, T)).astype(np.int32)
    one, other = (read(config, permuted(targets, o, 1), vocab_size=V)[1] for o in ((0, 1, 2), (1, 0, 2)))
    moved = np.abs(np.asarray(one)[:, 2] - np.asarray(other)[:, 2]).max()
    assert moved > 1e-2 if depends else moved < 1e-6
