"""Products of rounded operands: near float32, exact where nothing is rounded, in both directions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models.precision
from cases import MODELS, OBJECTIVES, QUICK, build, prepare, some_memory, text
from models.parameters import initialize
from models.precision import contract

SERVED = {"bert": "masked", "gpt": "causal", "xlnet_memory": "permutation"}


def loss_of(name: str, precision: str):
    """A smooth function of all that a model returns."""
    config = MODELS[name]
    batch = text(config)
    inputs, _ = prepare(OBJECTIVES[SERVED[name]], batch)
    memory, graphdef = some_memory(config, batch), nnx.graphdef(build(config, precision=precision))

    def loss(params):
        model = nnx.merge(graphdef, params)
        output = model(inputs, memory)
        pooled = 0.0 if output.pooled is None else model.pair_logits(output.pooled).sum()
        return jax.nn.log_softmax(model.logits(output.hidden))[..., 7].mean() + pooled

    return loss


@functools.cache
def products() -> set[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Every product of every model: the letters and the shapes of the operands."""
    seen, rounded = set(), models.precision._rounded

    def spy(spec, a, b):
        seen.add((spec, a.shape, b.shape))
        return rounded(spec, a, b)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models.precision, "_rounded", spy)
        for name in SERVED:
            params = jax.eval_shape(lambda name=name: initialize(build(MODELS[name]), jax.random.key(0)))
            jax.eval_shape(loss_of(name, "bfloat16"), params)
    return seen


def test_products_of_what_needs_no_rounding_are_exact_in_both_directions():
    assert len(products()) > 20
    rng = np.random.default_rng(0)
    for spec, *shapes in sorted(products()):
        a, b = (jnp.asarray(rng.integers(-4, 5, shape), jnp.float32) for shape in shapes)
        exact, pull = jax.vjp(functools.partial(jnp.einsum, spec), a, b)
        product, pull_rounded = jax.vjp(lambda a, b, spec=spec: contract(spec, a, b, "bfloat16"), a, b)
        np.testing.assert_array_equal(product, exact, err_msg=spec)
        cotangent = jnp.asarray(rng.integers(-4, 5, exact.shape), jnp.float32)
        for ours, theirs in zip(pull_rounded(cotangent), pull(cotangent), strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=spec)


def test_operands_are_rounded_and_sums_are_not():
    a = jnp.array([[1.0 + 2**-12, 256.0]])
    ones = jnp.ones((2, 1))
    assert float(contract("ab,bc->ac", a, ones, "bfloat16")[0, 0]) == 257.0  # a sum in bfloat16 would be 256
    assert float(contract("ab,bc->ac", a, ones, "float32")[0, 0]) == 257.0 + 2**-12
    gradient = jax.grad(lambda b: contract("ab,bc->ac", a, b, "bfloat16").sum())(ones)
    np.testing.assert_array_equal(gradient[:, 0], [1.0, 256.0])


@pytest.mark.parametrize("name", SERVED)
def test_bfloat16_is_near_float32_gradients_included(name):
    params = jax.tree.map(lambda x: 3 * x, initialize(build(MODELS[name]), jax.random.key(1)))
    results = [
        jax.jit(jax.value_and_grad(loss_of(name, precision)), compiler_options=QUICK)(params)
        for precision in ("float32", "bfloat16")
    ]
    (loss, gradient), (near, gradient_near) = results
    assert loss.dtype == near.dtype == jnp.float32 and loss != near
    np.testing.assert_allclose(near, loss, rtol=0.02)
    whole, error = np.zeros(()), np.zeros(())
    for ours, theirs in zip(jax.tree.leaves(gradient_near), jax.tree.leaves(gradient), strict=True):
        assert ours.dtype == jnp.float32
        whole, error = whole + np.square(theirs).sum(), error + np.square(ours - theirs).sum()
    assert 0 < error < 0.03**2 * whole
