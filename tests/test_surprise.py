"""The cross-entropy in parts is that of the whole, gradients included, and the whole is never there."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import objectives.surprise
from batch import Output, Targets
from objectives.base import token_loss
from objectives.surprise import Once, surprises

ROWS, SLOTS, DIM, VOCAB = 3, 7, 5, 11


class Scores:
    """A model with a head alone."""

    def __init__(self, params: Any):
        self.params, self.asked = params, 0

    def logits(self, hidden):
        self.asked += 1
        return jnp.einsum("bpd,vd->bpv", hidden, self.params["table"]) + self.params["bias"][None, None]


def example(seed: int = 0):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(3 * rng.normal(size=shape), jnp.float32)  # noqa: E731
    params = {"table": draw(VOCAB, DIM), "bias": draw(VOCAB)}
    return params, draw(ROWS, SLOTS, DIM), jnp.asarray(rng.integers(0, VOCAB, (ROWS, SLOTS)), jnp.int32)


def whole(params, hidden, labels):
    """What optax says of all logits at once."""
    logits = Scores(params).logits(hidden)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels), logits.argmax(axis=-1) == labels


def at_once(monkeypatch: pytest.MonkeyPatch, slots: int) -> None:
    monkeypatch.setattr(objectives.surprise, "AT_ONCE", slots * ROWS * VOCAB)


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 6, 7, 100])
def test_parts_add_up_to_the_whole_gradients_included(monkeypatch, slots):
    at_once(monkeypatch, slots)
    params, hidden, labels = example()
    cotangent = jnp.asarray(np.random.default_rng(1).normal(size=labels.shape), jnp.float32)

    def pulled(judge):
        found, pull, right = jax.vjp(lambda params, hidden: judge(params, hidden, labels), params, hidden, has_aux=True)
        return found, right, pull(cotangent)

    ours = pulled(lambda params, hidden, labels: surprises(Scores(params), hidden, labels))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), ours, pulled(whole))
    np.testing.assert_array_equal(ours[1], whole(params, hidden, labels)[1])


def arrays(jaxpr: Any):
    """The sizes of all that a program makes, inner programs included."""
    for equation in jaxpr.eqns:
        yield from (v.aval.size for v in equation.outvars)
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from arrays(inner)


def test_the_logits_of_a_batch_are_never_there_at_once(monkeypatch):
    params, hidden, labels = example()

    def loss(params, hidden):
        return surprises(Scores(params), hidden, labels)[0].sum()

    largest = lambda: max(arrays(jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(params, hidden).jaxpr))  # noqa: E731
    assert largest() == ROWS * SLOTS * VOCAB  # small enough
    at_once(monkeypatch, 2)
    assert largest() == max(ROWS * 2 * VOCAB, ROWS * 8 * DIM)  # the slots are padded to four twos


def test_of_equally_probable_tokens_the_first_is_taken():
    params = {"table": jnp.zeros((VOCAB, DIM)), "bias": jnp.zeros(VOCAB).at[jnp.array([2, 5])].set(1.0)}
    hidden, labels = jnp.ones((1, 4, DIM)), jnp.array([[2, 5, 0, 10]])
    assert surprises(Scores(params), hidden, labels)[1].tolist() == [[True, False, False, False]]


def test_what_is_not_a_number_is_never_right():
    params, hidden, labels = example()
    params["bias"] = params["bias"].at[3].set(jnp.nan)
    found, right = surprises(Scores(params), hidden, labels)
    assert not right.any() and jnp.isnan(found).all()


def test_parts_of_an_objective_share_one_judgment():
    params, hidden, labels = example()
    model, weights = Scores(params), jnp.ones(labels.shape)
    output, targets = Output(hidden=hidden), Targets(labels=labels, weights=weights)
    once = Once(model, output, targets)
    asked = model.asked
    expected = token_loss(Scores(params), output, targets)
    other = targets.replace(weights=0 * weights)
    assert token_loss(once, output, targets) == expected and model.asked == asked
    assert token_loss(once, output, other)[0]["loss"].total == 0 and model.asked == asked
    changed = targets.replace(labels=(labels + 1) % VOCAB)
    assert token_loss(once, output, changed)[0] == token_loss(Scores(params), output, changed)[0]
    assert model.asked > asked
