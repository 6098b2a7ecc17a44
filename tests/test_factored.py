"""The factored form of distances: the same attention as the shift form, from a product instead of a lookup."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cases import LENGTH, QUICK, SIZE, build, given, loud, read
from models import XlnetConfig
from models.factored import TOLERANCE, Factored, basis, factored
from models.parameters import Normal, initialize
from models.relative import RelativeAttention, Shifted, View, sinusoids
from models.visibility import every_row

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(4, 64, (3, LENGTH)).astype(np.int32)
SEGMENTS = RNG.integers(0, 2, (3, LENGTH)).astype(np.int32)
RANKS = np.stack([np.where(RNG.random(LENGTH) < 0.4, 0, 1 + RNG.permutation(LENGTH)) for _ in range(3)])
SIGNS = np.array([1, -1, -1], np.int32)
PREDICT = np.array([1, 4, 10])
WIDE = {**SIZE, "model_dim": 64}  # the basis is smaller than the sinusoids; at a width of 16 it is not
KEY = jax.random.key(0)


def both_forms(config: XlnetConfig) -> tuple[XlnetConfig, XlnetConfig]:
    return dataclasses.replace(config, distance_form="shift"), dataclasses.replace(config, distance_form="factored")


def everything():
    """Permuted orders, a query stream, segments, and rows of both directions."""
    return given(RANKS, TOKENS, PREDICT, segments=SEGMENTS, query_stream=True, direction=SIGNS)


@functools.cache
def attended(dim: int, past: int, *, queries: bool, precision="float32"):
    """For each form, outputs and gradients of one layer: parameters, queries and context."""
    rng = np.random.default_rng(7)
    predict = jnp.asarray(rng.integers(0, LENGTH, (3, 4)), jnp.int32)
    rows = every_row(given(0, TOKENS, [0]))
    rows = jnp.concatenate([rows, predict], axis=1) if queries else rows
    num_keys, direction = past + LENGTH, jnp.asarray(SIGNS) if queries else None
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    x, context = draw(*rows.shape, dim), draw(3, num_keys, dim)
    mask = jnp.asarray(rng.random((3, 1, rows.shape[1], num_keys)) < 0.7)
    differs = jnp.asarray(rng.random((3, rows.shape[1], num_keys)) < 0.5)
    attention = RelativeAttention(dim, 2, 0.0, initializer=Normal(dim**-0.5), precision=precision)
    params, graphdef = initialize(attention, KEY), nnx.graphdef(attention)
    table = sinusoids(num_keys, 1 - LENGTH, dim)
    forms = (
        Shifted(table=table, predict=predict, direction=direction, num_keys=num_keys),
        factored(rows, LENGTH, past, dim, direction),
    )

    def outcome(form):
        view = View(mask=mask, differs=differs, distance=form, biases=None)

        def loss(params, x, context):
            out = nnx.merge(graphdef, params)(x, context, view)[0]
            return jnp.sin(3 * out).sum(), out

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True), compiler_options=QUICK)(params, x, context)

    return [outcome(form) for form in forms]


def farthest(one, other) -> float:
    """The largest difference of two arrays, relative to the largest number of the second."""
    return float(np.abs(np.asarray(one) - np.asarray(other)).max() / np.abs(np.asarray(other)).max())


@pytest.mark.parametrize(
    ("dim", "past", "queries"), [(16, 8, True), (64, 0, False), (64, 9, True)], ids=["all", "compressed", "everything"]
)
def test_both_forms_give_the_same_outputs_and_gradients(dim, past, queries):
    assert (basis(dim, past + LENGTH).sines is None) == (dim == 16)
    (shift_gradients, shift), (gradients, out) = attended(dim, past, queries=queries)
    np.testing.assert_allclose(out, shift, atol=5e-6, rtol=0)
    pairs = zip(jax.tree.leaves_with_path(gradients), jax.tree.leaves(shift_gradients), strict=True)
    assert {jax.tree_util.keystr(path): farthest(g, s) for (path, g), s in pairs if farthest(g, s) > 2e-5} == {}


@pytest.mark.parametrize("size", [SIZE, WIDE], ids=["all", "compressed"])
def test_both_forms_read_a_window_alike(size):
    shift, product = both_forms(XlnetConfig(**size, memory_length=8, empty_memory="masked"))
    memory, capture = read(shift, everything())[0].memory, ("layers", "attention")
    one, other = (read(config, everything(), memory, capture=capture)[0] for config in (shift, product))
    for field in ("hidden", "layers", "attention", "query_attention"):
        np.testing.assert_allclose(getattr(one, field), getattr(other, field), atol=1e-4, err_msg=field)
    assert np.abs(np.asarray(one.hidden) - np.asarray(other.hidden)).any()  # they are two computations


def test_a_layer_without_distances_is_another_layer():
    """What the equalities above would miss if distances hardly mattered."""
    config = XlnetConfig(**WIDE)
    params = loud(config)
    still = jax.tree_util.tree_map_with_path(lambda path, x: 0 * x if "'distance'" in str(path) else x, params)
    told, untold = (np.asarray(read(config, everything(), params=p)[0].hidden) for p in (params, still))
    assert np.abs(told - untold).max() > 0.1


@pytest.mark.parametrize("num_keys", [1, 2, 24, 96, 192, 896])
@pytest.mark.parametrize("dim", [2, 8, 16, 64, 128, 512, 768])
def test_the_basis_spans_the_sinusoids_of_every_distance(dim, num_keys):
    found, distances = basis(dim, num_keys), np.arange(1 - num_keys, num_keys)
    own = np.outer(distances, 10_000.0 ** (-np.arange(0, dim, 2) / dim))
    angle = np.outer(distances, found.frequencies)
    if found.sines is None:
        np.testing.assert_array_equal(angle, own)
        return
    assert 0 < len(found.frequencies) < dim // 2
    error = np.sin(angle) @ found.sines.T - np.sin(own)
    assert np.abs(error).max() <= TOLERANCE <= 1e-7
    error = np.cos(angle) @ found.cosines.T - np.cos(own)
    assert np.abs(error - error[num_keys - 1]).max() <= 2 * TOLERANCE  # up to a constant
    assert max(np.abs(found.sines).max(), np.abs(found.cosines).max()) <= 8


def test_published_and_tiny_sizes_need_a_third_of_the_features():
    sizes = {(128, 96): 44, (256, 192): 80, (768, 896): 256, (1024, 896): 308}
    assert all(2 * len(basis(*size).frequencies) <= most for size, most in sizes.items())


def test_every_place_has_features_of_its_own_and_they_are_exact():
    form = factored(jnp.zeros((1, 1), jnp.int32), 512, 384, 768, None)
    keys = np.asarray(form.keys)
    assert keys.dtype == np.float32 and len(np.unique(keys, axis=0)) == len(keys) == 896
    angle = np.outer(np.arange(-384, 512), basis(768, 896).frequencies)
    np.testing.assert_allclose(keys, np.concatenate([np.sin(angle), np.cos(angle)], axis=1), atol=6e-8, rtol=0)


def test_rounding_to_bfloat16_costs_both_forms_the_same():
    exact, rounded = (
        [np.asarray(out) for _, out in attended(64, 9, queries=True, precision=p)] for p in ("float32", "bfloat16")
    )
    shift, product = (np.linalg.norm(r - e) / np.linalg.norm(e) for r, e in zip(rounded, exact, strict=True))
    assert 0 < product < 1.5 * shift < 0.05


def shapes_within(jaxpr) -> set[tuple[int, ...]]:
    """The shapes of all values that a computation makes, those of its inner computations included."""
    found = set()
    for equation in jaxpr.eqns:
        found |= {tuple(v.aval.shape) for v in equation.outvars}
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            found |= shapes_within(inner) if hasattr(inner, "eqns") else set()
    return found


def test_no_scores_by_distance_are_computed():
    tokens = np.resize(TOKENS, (3, 13)).astype(np.int32)
    num_distances = 8 + 13 + 13  # no other axis is as long
    holds = []
    for config in both_forms(XlnetConfig(**WIDE, memory_length=8)):
        graphdef = nnx.graphdef(build(config))
        run = jax.make_jaxpr(lambda p, graphdef=graphdef: nnx.merge(graphdef, p)(given(0, tokens, [0])).hidden)
        holds.append(any(num_distances in shape for shape in shapes_within(run(loud(config)).jaxpr)))
    assert holds == [True, False]


@pytest.mark.parametrize(
    ("fields", "key", "form"),
    [
        ({}, None, Factored),
        ({}, KEY, Factored),
        ({"distance_form": "shift"}, None, Shifted),
        ({"clamp_length": 5}, None, Shifted),
        ({"clamp_length": 5}, KEY, Shifted),
        ({"dropout_rate": 0.1}, None, Factored),  # nothing is dropped in evaluation
        ({"dropout_rate": 0.1}, KEY, Shifted),
        ({"dropout_rate": 0.1, "distance_dropout": "row"}, KEY, Shifted),
        ({"dropout_rate": 0.1, "distance_dropout": "none"}, KEY, Factored),
    ],
)
def test_clamping_and_dropping_distances_need_the_shift_form(fields, key, form):
    config = XlnetConfig(**{**SIZE, **fields})
    inputs = everything()
    rows = jnp.concatenate([every_row(inputs), inputs.predict], axis=1)
    assert isinstance(build(config).distance(inputs, rows, 8, key), form)


def test_a_clamped_model_is_the_same_whatever_form_is_asked_for():
    shift, product = both_forms(XlnetConfig(**SIZE, clamp_length=3))
    one, other = (read(config, everything())[0].hidden for config in (shift, product))
    np.testing.assert_array_equal(one, other)
