"""What holds for every objective with every model that can serve it: a new one is checked by joining `cases`."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from batch import VOID, Batch, Vocab, weighted_mean
from cases import (
    CASES,
    HALF,
    MODELS,
    OBJECTIVES,
    QUICK,
    ROWS,
    SIZE,
    VOCAB,
    Case,
    build,
    continuation,
    loud,
    prepare,
    read,
    rows,
    some_memory,
    text,
)
from models import BertConfig, XlnetConfig, build_model
from models.parameters import initialize
from objectives import CausalLm, MaskedLm, MaskedNextToken, Mixture, PermutationLm
from training.state import init_state
from training.step import make_train_step

RANDOM = [name for name in OBJECTIVES if "causal" not in name and name != "backward"]
APART = [name for name in OBJECTIVES if "mixture" not in name]  # the rows of a mixture take turns (test_mixture.py)


# Units of hiding differ in what `prepare` draws, which is cheap to check, and not in what a step compiles.
TRAINED = [name for name in CASES if name.rsplit("_")[-1] not in ("word", "span", "block", "token")]


@functools.cache
def first_values(config):
    """The parameters that a run starts with."""
    return jax.jit(lambda key: initialize(build(config), key), compiler_options=QUICK)(jax.random.key(0))


def start(config, optimizer):
    """The state before the first step."""
    return init_state(build(config), optimizer, ROWS, 0, first_values(config))


@functools.cache
def memorized(name: str):
    """The losses of 60 steps on one batch, the step and the last state."""
    case, optimizer = CASES[name], optax.adam(1e-2)
    model, batch = build(case.model), text(case.model)
    step = make_train_step(model, case.objective, VOCAB, optimizer)
    state, losses = start(case.model, optimizer), []
    for _ in range(60):
        state, record = step(state, batch, 0)
        losses.append(record["loss"])
    return [mean.value() for mean in losses], step, state


@pytest.mark.parametrize("name", TRAINED)
def test_one_batch_is_memorized(name):
    losses, _, _ = memorized(name)
    assert abs(losses[0] - math.log(VOCAB.size)) < 0.3
    assert losses[-1] < 0.4 * losses[0]


@pytest.mark.parametrize("name", TRAINED)
def test_steps_and_epochs_share_one_compilation(name):
    _, step, state = memorized(name)
    batch, state = continuation(CASES[name].model), jax.tree.map(jnp.copy, state)
    for epoch in range(2):
        state, _ = step(state, batch.replace(epoch=batch.epoch + epoch), 0)
    assert step._cache_size() == 1


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_is_a_function_of_state_and_batch(name):
    _, step, state = memorized(name)
    batch = continuation(CASES[name].model)
    one, two = (step(jax.tree.map(jnp.copy, state), batch, 0) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, one, two)


@pytest.mark.parametrize("name", TRAINED)
def test_a_batch_without_targets_has_loss_0_and_gradient_0(name):
    _, step, state = memorized(name)
    batch = text(CASES[name].model)
    nothing = batch.replace(document=batch.document * 0)
    after, record = step(jax.tree.map(jnp.copy, state), nothing, 0)
    assert float(record["loss"].total) == 0 and float(record["loss"].weight) == 0
    assert float(record["gradient_norm"]) == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))


@pytest.mark.parametrize("name", CASES)
def test_what_stands_under_padding_changes_nothing(name):
    case = CASES[name]
    batch, rng = text(case.model), np.random.default_rng(0)
    padding = batch.document == 0
    junk = batch.replace(
        tokens=np.where(padding, rng.integers(0, VOCAB.size, padding.shape), batch.tokens).astype(np.int32),
        segments=np.where(padding, 1, batch.segments).astype(np.int32),
    )
    (inputs, targets), (spoiled, same) = (prepare(case.objective, b) for b in (batch, junk))
    np.testing.assert_array_equal(inputs.predict, spoiled.predict)
    np.testing.assert_array_equal(targets.weights, same.weights)
    one, two = (read(case.model, i, some_memory(case.model, batch)) for i in (inputs, spoiled))
    used = np.asarray(targets.weights) > 0
    np.testing.assert_array_equal(np.asarray(one[1])[used], np.asarray(two[1])[used])
    np.testing.assert_array_equal(np.asarray(targets.labels)[used], np.asarray(same.labels)[used])
    if case.model.memory_length:
        visible = np.asarray(one[0].memory.valid)
        np.testing.assert_array_equal(visible, two[0].memory.valid)
        kept = [np.asarray(output.memory.hidden)[:, visible] for output, _ in (one, two)]
        np.testing.assert_array_equal(*kept)


@pytest.mark.parametrize("name", CASES)
def test_how_much_padding_there_is_changes_nothing(name):
    case = CASES[name]
    batch = text(case.model)
    inputs, targets = prepare(case.objective, batch)
    memory = some_memory(case.model, batch)
    left = 0 if memory is not None else 2  # between a memory and what follows it, padding would be a distance
    widths = ((0, 0), (left, 3))
    padded = {
        field: jnp.pad(getattr(inputs, field), widths) for field in ("tokens", "segments", "document", "position")
    }
    wider = inputs.replace(
        **padded,
        order=jnp.pad(inputs.order, widths, constant_values=VOID),
        predict=inputs.predict + left,
        summary=inputs.summary + left,
    )
    used = np.asarray(targets.weights) > 0
    one, two = (np.asarray(read(case.model, i, memory)[1])[used] for i in (inputs, wider))
    np.testing.assert_allclose(one, two, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in CASES if "mixture" not in name])
def test_rows_are_independent(name):
    case, chosen = CASES[name], np.array([2, 0])
    batch = continuation(case.model)
    memory = some_memory(case.model, batch)
    few = jax.tree.map(lambda x: x[chosen], batch)
    some = None if memory is None else memory.replace(
        hidden=memory.hidden[:, chosen], valid=memory.valid[chosen], document=memory.document[chosen]
    )  # fmt: skip
    together, _ = read(case.model, prepare(case.objective, batch)[0], memory)
    apart, _ = read(case.model, prepare(case.objective, few)[0], some)
    np.testing.assert_allclose(apart.hidden, np.asarray(together.hidden)[chosen], atol=1e-4)
    if memory is not None:
        np.testing.assert_allclose(apart.memory.hidden, np.asarray(together.memory.hidden)[:, chosen], atol=1e-4)
        np.testing.assert_array_equal(apart.memory.document, np.asarray(together.memory.document)[chosen])


@pytest.mark.parametrize("name", APART)
def test_what_is_hidden_depends_neither_on_the_batch_nor_on_the_place_in_it(name):
    batch, chosen = text(MODELS["xlnet"]), np.array([3, 1])
    few = jax.tree.map(lambda x: x[chosen], batch)
    whole, part = prepare(OBJECTIVES[name], batch), prepare(OBJECTIVES[name], few)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a)[chosen], b), whole, part)


@pytest.mark.parametrize("name", RANDOM)
def test_what_is_hidden_depends_on_the_key_the_epoch_and_the_text(name):
    batch, seen = text(MODELS["xlnet"]), set()
    others = [batch, batch.replace(epoch=batch.epoch + 1), batch.replace(example=batch.example + 1)]
    for other, seed in [*((b, 0) for b in others), (batch, 1)]:
        inputs, targets = prepare(OBJECTIVES[name], other, seed)
        again = prepare(OBJECTIVES[name], other, seed)
        jax.tree.map(np.testing.assert_array_equal, (inputs, targets), again)
        seen.add(b"".join(np.asarray(x).tobytes() for x in (inputs.tokens, inputs.order, inputs.predict)))
    assert len(seen) == 4


@pytest.mark.parametrize("name", ["bert-masked", "bert-causal", "gpt-causal", "gpt-backward", "xlnet-permutation"])
def test_packed_documents_equal_each_alone(name):
    case = CASES[name]
    batch = text(case.model)
    inputs, _ = prepare(case.objective, jax.tree.map(lambda x: x[:1], batch))
    cut = int((batch.document[0] == 1).sum())
    predict = jnp.array([[0, 2, cut, cut + 3, 11]])
    whole = np.asarray(read(case.model, inputs.replace(predict=predict))[0].hidden)
    for part, at in ((slice(0, cut), slice(0, 2)), (slice(cut, None), slice(2, None))):
        fields = ("tokens", "segments", "document", "order")
        alone = inputs.replace(
            **{field: getattr(inputs, field)[:, part] for field in fields}, predict=predict[:, at] - part.start
        )
        alone = alone.replace(position=jnp.arange(alone.tokens.shape[1])[None])
        np.testing.assert_allclose(read(case.model, alone)[0].hidden, whole[:, at], atol=1e-4)


PARTED = {
    "bert": Case(MODELS["bert"], MaskedLm(rate=0.34, pair_weight=0.7)),
    "gpt": CASES["gpt-causal"],
    "xlnet": Case(
        dataclasses.replace(MODELS["xlnet_memory"], pair_head=True),
        PermutationLm(predict_one_in=3, pair_weight=0.7, reuse=HALF),
    ),
    "mixture": Case(MODELS["gpt"], Mixture((CausalLm(), MaskedNextToken()), balance="shares")),
}


PAIRED = {f"{name}_pairs": PARTED[name].objective for name in ("bert", "xlnet")}


@pytest.mark.parametrize("name", PARTED)
def test_microbatches_change_nothing(name):
    """Gradients, read off a step of plain descent, losses and memory; the rows differ in how many targets they have."""
    case = PARTED[name]
    documents = [[1] * 12, [2] * 3 + [0] * 9, [3] * 7 + [0] * 5, [0] * 12]
    batch = rows(documents, 3, relative=case.model.max_length is None).replace(
        fresh=np.array([False, True, False, False])
    )
    weights = np.asarray(prepare(case.objective, batch)[1].weights).sum(axis=1)
    assert len(set(weights)) > 2
    model, optimizer, results = build(case.model), optax.sgd(1.0), []
    for parts in (1, 2, 4):
        step = make_train_step(model, case.objective, VOCAB, optimizer, accumulate=parts)
        state = start(case.model, optimizer)
        before = jax.tree.map(np.asarray, state.params)
        state = state.replace(memory=some_memory(case.model, batch))
        after, record = step(state, batch, 0)
        gradient = jax.tree.map(np.subtract, before, after.params)
        results.append((gradient, record, after.memory))
    assert "pair_loss" in results[0][1] or name in ("gpt", "mixture")
    for parted in results[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-5), results[0], parted)


@pytest.mark.parametrize("model", ["bert", "gpt", "xlnet_memory"])
def test_what_is_computed_again_changes_no_gradient(model):
    config, batch = MODELS[model], text(MODELS[model])
    objective = OBJECTIVES["permutation" if model == "xlnet_memory" else "causal"]
    inputs, _ = prepare(objective, batch)

    def gradient(remat):
        graphdef = nnx.graphdef(build(config, remat=remat))
        loss = lambda params: jnp.sin(nnx.merge(graphdef, params)(inputs, key=jax.random.key(0)).hidden).mean()  # noqa: E731
        return jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)(loud(config))

    none, cheap, everything = (gradient(remat) for remat in ("none", "cheap", "all"))
    for other in (cheap, everything):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), none, other)


@pytest.mark.parametrize("remat", ["none", "cheap"])
@pytest.mark.parametrize("model", ["bert", "gpt", "xlnet_memory"])
def test_a_deeper_trunk_is_no_longer_program(model, remat):
    inputs, _ = prepare(OBJECTIVES["permutation" if model == "xlnet_memory" else "causal"], text(MODELS[model]))

    def operations(layers):
        graphdef, params = nnx.split(build(dataclasses.replace(MODELS[model], num_layers=layers), remat=remat))
        hidden = jax.jit(lambda params: nnx.merge(graphdef, params)(inputs, key=jax.random.key(0)).hidden)
        lowered = hidden.lower(params).as_text()
        return lowered.count(" = "), lowered.count("stablehlo.while")

    (nine, loops), (five, as_many), (_, without) = operations(9), operations(5), operations(4)
    assert nine == five and loops == as_many
    assert without == loops - (remat == "none")


def test_unused_slots_are_selected_out():
    values, weights = jnp.array([1.0, jnp.nan, 3.0]), jnp.array([1.0, 0.0, 2.0])
    assert weighted_mean(values, weights) == (7.0, 3.0)
    gradient = jax.grad(lambda x: weighted_mean(x, weights).total)(values)
    np.testing.assert_array_equal(gradient, weights)


@pytest.mark.parametrize("name", ["bert-masked_span", "gpt-causal", "xlnet-permutation_block"])
def test_the_loss_is_the_mean_over_targets_and_their_labels_alone(name):
    case = CASES[name]
    inputs, targets = prepare(case.objective, text(case.model))
    output, log_p = read(case.model, inputs)
    model, used = nnx.merge(nnx.graphdef(build(case.model)), loud(case.model)), np.asarray(targets.weights) > 0
    assert used.any() and not used.all()
    chosen = np.take_along_axis(np.asarray(log_p, np.float64), np.asarray(targets.labels)[..., None], axis=2)[..., 0]
    for labels in (targets.labels, jnp.where(used, targets.labels, 7)):
        spoiled = output.replace(hidden=jnp.where(used[..., None], output.hidden, jnp.nan))
        losses, metrics = case.objective.loss(model, spoiled, targets.replace(labels=labels))
        np.testing.assert_allclose(losses["loss"].value(), -chosen[used].mean(), rtol=1e-5)
        assert float(metrics["accuracy"].weight) == used.sum()
        right = np.asarray(log_p).argmax(axis=-1) == np.asarray(targets.labels)
        assert float(metrics["accuracy"].total) == right[used].sum()


@pytest.mark.parametrize("objective", [*OBJECTIVES.values(), *PAIRED.values()], ids=[*OBJECTIVES, *PAIRED])
def test_each_loss_is_divided_by_its_own_weight_in_the_whole_batch(objective):
    batch = text(MODELS["bert"])
    batch = batch.replace(document=batch.document * np.array([[1], [1], [0], [1]]))
    _, targets = prepare(objective, batch)
    scales = objective.scales(targets)
    np.testing.assert_allclose(scales["loss"] * targets.weights.sum(), 1, rtol=1e-6)
    assert ("pair_loss" in scales) == (objective.pair_weight > 0)
    if "pair_loss" in scales:
        np.testing.assert_allclose(scales["pair_loss"] * 3, objective.pair_weight, rtol=1e-6)


def twins(seed: int) -> Batch:
    """A symbol and the same symbol again, drawn uniformly from eight."""
    drawn = np.random.default_rng(seed).integers(4, 12, (64, 1)).astype(np.int32)
    batch = rows([[1, 1]] * 64, seed, relative=False)
    zeros = np.zeros((64, 2), np.int32)
    return batch.replace(tokens=np.repeat(drawn, 2, axis=1), segments=zeros, word=zeros + np.arange(2, dtype=np.int32))


@pytest.mark.parametrize(
    ("config", "objective", "low", "high"),
    [
        (XlnetConfig(**SIZE), PermutationLm(predict_one_in=1, spans="token"), 0.9, 1.2),
        (BertConfig(**SIZE, max_length=2), MaskedLm(rate=1.0, mask_share=1.0, random_share=0.0), 1.9, 2.2),
    ],
    ids=["permutation", "masked"],
)
def test_a_pair_that_depends_on_each_other_costs_ln_v_in_an_order_and_twice_that_without(config, objective, low, high):
    """Both symbols are hidden: an order lets the second see the first, independent guesses never do."""
    vocab, optimizer = Vocab(size=12, special=(0, 1, 2, 3), pad=0, mask=3), optax.adam(5e-3)
    model = build_model(config, vocab.size)
    step, state = make_train_step(model, objective, vocab, optimizer), init_state(model, optimizer, 64, 0)
    totals = []
    for i in range(200):
        batch = twins(i)
        state, record = step(state, dataclasses.replace(batch, epoch=batch.epoch + i), 0)
        totals.append(2 * record["loss"].total / record["loss"].weight)
    assert low < np.mean([float(t) for t in totals[-20:]]) / math.log(8) < high
