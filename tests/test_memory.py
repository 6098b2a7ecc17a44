"""Memory is what a longer window would have shown, and nothing else: no gradient, no padding, no other row."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from batch import VOID, Memory
from cases import (
    HALF,
    LENGTH,
    MODELS,
    QUICK,
    ROWS,
    SIZE,
    VOCAB,
    build,
    given,
    loud,
    prepare,
    read,
    rows,
    some_memory,
    text,
)
from models import XlnetConfig
from objectives import CausalLm, MaskedLm, PermutationLm

FULL = XlnetConfig(**SIZE, memory_length=LENGTH, empty_memory="masked")
HALVES = XlnetConfig(**SIZE, memory_length=HALF, empty_memory="masked")
FORGETFUL = XlnetConfig(**SIZE)
LONG = XlnetConfig(**SIZE, memory_length=10, empty_memory="masked")


def stream(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(4, VOCAB.size, (2, length)).astype(np.int32)


def orders(kind: str, seed: int) -> np.ndarray:
    """The order of one window [B L]: left to right, all at once, or context and ranked targets."""
    if kind == "causal":
        return np.tile(np.arange(LENGTH), (2, 1))
    rng = np.random.default_rng(seed)
    ranks = np.stack([1 + rng.permutation(LENGTH) for _ in range(2)])
    return np.where(rng.random((2, LENGTH)) < 0.5, 0, ranks) if kind == "permutation" else np.zeros_like(ranks)


@pytest.mark.parametrize("kind", ["causal", "bidirectional", "permutation"])
def test_a_full_memory_equals_one_longer_window(kind):
    tokens, first, second = stream(2 * LENGTH), orders(kind, 1), orders(kind, 2)
    segments = np.random.default_rng(3).integers(0, 3, (2, LENGTH)).astype(np.int32)  # the memory is segment 0
    predict, fields = np.array([0, 5, 11]), {"query_stream": True, "direction": np.array([1, -1], np.int32)}
    one, _ = read(FULL, given(first, tokens[:, :LENGTH], predict, **fields), capture=("layers",))
    two, _ = read(
        FULL, given(second, tokens[:, LENGTH:], predict, segments=segments, **fields), one.memory, capture=("layers",)
    )
    fields["segments"] = np.concatenate([np.zeros_like(segments), segments], axis=1)
    order = np.concatenate([first, second + LENGTH + 1], axis=1)
    whole, _ = read(FORGETFUL, given(order, tokens, predict + LENGTH, **fields), capture=("layers",))
    np.testing.assert_allclose(np.concatenate([one.layers, two.layers], axis=2), whole.layers, atol=2e-4)
    np.testing.assert_allclose(two.hidden, whole.hidden, atol=2e-4)


def test_without_the_order_of_blocks_memory_is_not_a_longer_window():
    tokens = stream(2 * LENGTH)
    one, _ = read(FULL, given(0, tokens[:, :LENGTH], [0]))
    two, _ = read(FULL, given(0, tokens[:, LENGTH:], [0]), one.memory)
    whole, _ = read(FORGETFUL, given(0, tokens, [LENGTH]))
    assert np.abs(np.asarray(two.hidden) - np.asarray(whole.hidden)).max() > 1e-2


@pytest.mark.parametrize(
    "objective",
    [CausalLm(reuse=HALF), MaskedLm(reuse=HALF, mask_share=0.0, random_share=0.0), PermutationLm(reuse=HALF)],
    ids=["causal", "masked", "permutation"],
)
def test_windows_that_overlap_equal_one_longer_window(objective):
    """[x, y] and then [y, z] with the memory of x: what y and z read is [x, y, z]."""
    tokens = stream(LENGTH + HALF)

    def window(start: int, seed: int):
        batch = rows([[1] * LENGTH] * 2, seed, relative=True)
        return prepare(
            objective, batch.replace(tokens=tokens[:, start : start + LENGTH], segments=batch.segments * 0), seed
        )[0]

    first, second = window(0, 1), window(HALF, 2)
    one, _ = read(HALVES, first, capture=("layers",))
    two, _ = read(HALVES, second, one.memory, capture=("layers",))
    order = np.concatenate([np.asarray(first.order)[:, :HALF], np.asarray(second.order) + 100], axis=1)
    whole, _ = read(FORGETFUL, given(order, tokens, [0], direction=np.asarray(first.direction)), capture=("layers",))
    both = np.concatenate([np.asarray(one.layers)[:, :, :HALF], two.layers], axis=2)
    np.testing.assert_allclose(both, whole.layers, atol=2e-4)


def test_memory_holds_the_layer_inputs_of_the_tokens_just_left_of_the_window():
    tokens, memory = stream(3 * HALF + LENGTH), None
    expected = np.zeros((SIZE["num_layers"], 2, 10, SIZE["model_dim"]), np.float32)
    for step in range(3):
        shown = tokens[:, step * HALF : step * HALF + LENGTH]
        inputs = given(orders("permutation", step), shown, [1], query_stream=True, reuse=HALF)
        inputs = inputs.replace(document=jnp.full_like(inputs.document, 1 + step))
        output, _ = read(LONG, inputs, memory, capture=("layers",))
        layer_inputs = np.asarray(output.layers)[:-1, :, :HALF]
        expected = np.concatenate([expected, layer_inputs], axis=2)[:, :, -10:]
        memory = output.memory
        np.testing.assert_array_equal(memory.hidden, expected)
        filled = min(10, (step + 1) * HALF)
        np.testing.assert_array_equal(memory.valid, np.tile(np.arange(10) >= 10 - filled, (2, 1)))
    np.testing.assert_array_equal(memory.document, np.tile([2] * 4 + [3] * 6, (2, 1)))
    table = np.asarray(loud(LONG)["tokens"]["table"])
    np.testing.assert_array_equal(memory.hidden[0], table[tokens[:, 3 * HALF - 10 : 3 * HALF]])


def test_the_order_changes_the_memory_of_what_sees_others_by_it_and_no_other():
    tokens = stream(LENGTH)
    one, other = np.array([0, 1, 0, 2, 3, 0, 0, 0, 4, 0, 0, 0]), np.array([0, 4, 0, 3, 1, 0, 0, 0, 2, 0, 0, 0])
    kept = [np.asarray(read(FULL, given(o, tokens, [0]))[0].memory.hidden) for o in (one, other)]
    changed = (kept[0] != kept[1]).any(axis=-1)
    assert not changed[0].any()
    np.testing.assert_array_equal(changed[1:], np.broadcast_to(one > 0, changed[1:].shape))


def test_no_gradient_enters_the_memory():
    config, graphdef = FULL, nnx.graphdef(build(FULL))
    batches = [rows([[1] * LENGTH] * 2, seed, relative=True) for seed in (1, 2)]
    first, second = (prepare(PermutationLm(), batch)[0] for batch in batches)

    def loss(params, memory):
        return jnp.sin(nnx.merge(graphdef, params)(second, memory).hidden).sum()

    def through(params):
        return loss(params, nnx.merge(graphdef, params)(first).memory)

    def kept(params):
        return jnp.sin(nnx.merge(graphdef, params)(first).memory.hidden).sum()

    params, memory = loud(config), read(config, first)[0].memory
    jitted = lambda f: jax.jit(f, compiler_options=QUICK)  # noqa: E731
    whole, constant = jitted(jax.grad(through))(params), jitted(jax.grad(loss))(params, memory)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), whole, constant)
    assert not any(leaf.any() for leaf in jax.tree.leaves(jitted(jax.grad(kept))(params)))


def test_an_invisible_memory_is_no_memory_and_zeros_are_something():
    batch = text(FORGETFUL)
    inputs, _ = prepare(PermutationLm(), batch)
    without, _ = read(FORGETFUL, inputs)
    assert without.memory is None and build(FORGETFUL).init_memory(ROWS) is None
    masked, zeros = (read(dataclasses.replace(FULL, empty_memory=kind), inputs)[0] for kind in ("masked", "zeros"))
    np.testing.assert_allclose(masked.hidden, without.hidden, atol=1e-5)
    assert np.abs(np.asarray(zeros.hidden) - np.asarray(without.hidden)).max() > 1e-2
    started = build(FULL).init_memory(ROWS)
    np.testing.assert_array_equal(read(FULL, inputs, started)[0].hidden, masked.hidden)


@pytest.mark.parametrize("kind", ["masked", "zeros"])
def test_a_row_that_starts_afresh_forgets_and_no_other_does(kind):
    config = dataclasses.replace(MODELS["xlnet_memory"], empty_memory=kind)
    model, memory, fresh = build(config), some_memory(config, text(config)), np.array([False, True, False, True])
    forgot, empty = model.forget(memory, jnp.asarray(fresh)), model.init_memory(ROWS)
    for field, rank in (("hidden", 4), ("valid", 2), ("document", 2)):
        at = fresh[None, :, None, None] if rank == 4 else fresh[:, None]
        expected = np.where(at, getattr(empty, field), getattr(memory, field))
        np.testing.assert_array_equal(getattr(forgot, field), expected)
    assert bool(empty.valid.all()) == (kind == "zeros") and bool(empty.valid.any()) == (kind == "zeros")


def test_remembered_padding_is_invisible():
    batch = text(FULL)
    inputs, _ = prepare(PermutationLm(), batch)
    memory = read(FULL, inputs)[0].memory
    np.testing.assert_array_equal(memory.valid, batch.document > 0)
    np.testing.assert_array_equal(memory.document, batch.document)
    noise = jnp.asarray(np.random.default_rng(0).normal(size=memory.hidden.shape), jnp.float32)
    spoiled = memory.replace(hidden=jnp.where(memory.valid[None, :, :, None], memory.hidden, noise))
    after, _ = prepare(PermutationLm(), text(FULL, seed=9))
    one, two = (read(FULL, after, m)[0].hidden for m in (memory, spoiled))
    np.testing.assert_array_equal(one, two)


def test_a_document_sees_its_own_memory_only():
    """The end of document 1 and the beginning of 2 in one window, against each of them alone."""
    tokens, five = stream(2 * LENGTH), 5
    one, _ = read(FULL, given(np.arange(LENGTH), tokens[:, :LENGTH], [0]))
    document = np.tile([1] * five + [2] * (LENGTH - five), (2, 1)).astype(np.int32)
    order, predict = np.arange(LENGTH), np.array([4, 5, 11])
    packed, _ = read(FULL, given(order, tokens[:, LENGTH:], predict, document=document), one.memory)
    ending = given(np.arange(LENGTH + five), tokens[:, : LENGTH + five], [LENGTH + 4])
    beginning = given(np.arange(LENGTH - five), tokens[:, LENGTH + five :], [0, LENGTH - five - 1])
    np.testing.assert_allclose(packed.hidden[:, :1], read(FORGETFUL, ending)[0].hidden, atol=2e-4)
    np.testing.assert_allclose(packed.hidden[:, 1:], read(FORGETFUL, beginning)[0].hidden, atol=2e-4)


def test_memory_of_nothing_but_padding_stays_empty():
    inputs = given(VOID, np.zeros((2, LENGTH), np.int32), [0], document=np.zeros((2, LENGTH), np.int32))
    memory = read(FULL, inputs)[0].memory
    assert isinstance(memory, Memory) and not memory.valid.any()
