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


@pytest.mark.parametrize("size", [1, 2, 17])
@pytest.mark.parametrize(
    "spec", ["btd,dhk->bthk", "bthk,hkd->btd", "bpd,vd->bpv", "bthk,bshk->bhts", "bhts,bshk->bthk", "bthk,brhk->bhtr"]
)
def test_every_layout_is_compiled_whatever_the_sizes(spec, size):
    """Backends refuse products in layouts of their own choosing, and rewrite those with an axis of one number."""
    rng, (left, right) = np.random.default_rng(0), spec.split("->")[0].split(",")
    sizes = dict.fromkeys("bk", 3) | dict.fromkeys("tphd", size) | dict.fromkeys("svr", 4)
    a, b = (jnp.asarray(rng.integers(-4, 5, [sizes[x] for x in letters]), jnp.float32) for letters in (left, right))

    def both(product, a, b):
        value, pull = jax.vjp(product, a, b)
        return value, pull(value % 5 - 2)

    rounded = jax.jit(functools.partial(both, lambda a, b: contract(spec, a, b, "bfloat16")))
    expected = both(functools.partial(jnp.einsum, spec), a, b)
    jax.tree.map(np.testing.assert_array_equal, rounded(a, b), expected)


def multiplied():
    """What a product and its gradient multiply; traced anew, as JAX remembers what it has traced of a function."""
    traced = jax.make_jaxpr(lambda a, b: gradient_of_a_product(a, b))(jnp.ones((2, 3)), jnp.ones((3, 4)))
    return list(operands(traced.jaxpr))


def operands(jaxpr):
    """The types of what is multiplied, inner programs included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield tuple(str(v.aval.dtype) for v in (*equation.invars, *equation.outvars))
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from operands(inner)


def gradient_of_a_product(a, b):
    return jax.grad(lambda a, b: jnp.sin(contract("td,df->tf", a, b, "bfloat16")).sum(), argnums=(0, 1))(a, b)


def test_operands_are_narrow_where_the_backend_can_in_all_three_products(monkeypatch):
    assert multiplied() == [("bfloat16", "bfloat16", "float32")] * 3
    monkeypatch.setattr(models.precision, "multiplies_bfloat16", lambda: False)
    assert multiplied() == [("float32",) * 3] * 3


def test_a_backend_that_refuses_multiplies_rounded_numbers(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((16, 32), (32, 8)))
    narrow = gradient_of_a_product(a, b)

    def refuse(spec, a, b):
        raise jax.errors.JaxRuntimeError("Unsupported element type for DotThunk")

    with monkeypatch.context() as patch:
        models.precision.multiplies_bfloat16.cache_clear()
        patch.setattr(models.precision, "by_rows", refuse)
        assert not models.precision.multiplies_bfloat16()
        wide = gradient_of_a_product(a, b)
    models.precision.multiplies_bfloat16.cache_clear()
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-5), narrow, wide)
