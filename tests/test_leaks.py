"""Nobody sees what its objective hides, and everybody sees all that it shows, through every layer."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from batch import Batch, Inputs, Targets
from cases import CASES, LENGTH, QUICK, ROWS, VOCAB, Case, build, continuation, loud, prepare, read, some_memory, text
from objectives import (
    CausalLm,
    MaskedDiffusion,
    MaskedLm,
    MaskedNextToken,
    Mixture,
    Objective,
    PermutationLm,
    PrefixLm,
)


def part(objective: Objective, row: int) -> Objective:
    """What a row is asked: the two parts of a mixture take turns, and begin with the first in epoch 0."""
    return objective.parts[row % 2] if isinstance(objective, Mixture) else objective


def allowed(case: Case, batch: Batch, inputs: Inputs, targets: Targets) -> np.ndarray:
    """Which tokens each prediction may depend on [B P L], from what the objective means."""
    rows = range(ROWS)
    each = [visible(part(case.objective, row), batch, inputs, targets) for row in rows]
    return np.stack([found[row] for row, found in zip(rows, each, strict=True)])


def visible(objective: Objective, batch: Batch, inputs: Inputs, targets: Targets) -> np.ndarray:
    """The same where all rows are of one objective."""
    predict, document = np.asarray(inputs.predict), batch.document
    i, j = predict[:, :, None], np.arange(LENGTH)[None, None]
    own = np.take_along_axis(document, predict, axis=1)
    together = (document[:, None] == own[:, :, None]) & (document[:, None] > 0)
    if isinstance(objective, CausalLm):
        return together & ((j <= i) if objective.direction == "forward" else (j >= i))
    if isinstance(objective, PrefixLm):
        last = np.where(np.asarray(inputs.order) == 0, j[0], -1).max(axis=1)[:, None, None]  # of the prefix
        return together & ((j <= i) | (j <= last))
    if isinstance(objective, MaskedDiffusion | MaskedNextToken):
        return together
    first = objective.reuse or LENGTH
    if isinstance(objective, MaskedLm):
        return together & ((j < first) | (i >= first))
    assert isinstance(objective, PermutationLm)
    asked = np.zeros((ROWS, LENGTH), bool)
    for b, p in zip(*np.nonzero(np.asarray(targets.weights)), strict=True):
        asked[b, predict[b, p]] = True
    special = VOCAB.is_special[batch.tokens] & (not objective.specials_seen)
    context = ~asked & ~special
    rank = np.asarray(inputs.order)
    earlier = ~context[:, None] & (rank[:, None] < np.take_along_axis(rank, predict, axis=1)[:, :, None])
    same_half = (j < first) == (i < first)
    return together & np.where(same_half, context[:, None] | earlier, j < first)


@functools.cache
def sensitivity(config):
    """The Jacobian of every prediction, on a random direction, by token embedding and by memory."""
    graphdef = nnx.graphdef(build(config, remat="none"))
    direction = jnp.asarray(np.random.default_rng(5).normal(size=config.model_dim), jnp.float32)

    def projected(table, past, params, inputs, memory):
        memory = None if memory is None else memory.replace(hidden=past)
        output = nnx.merge(graphdef, {**params, "tokens": {"table": table}})(inputs, memory)
        return jnp.einsum("bpd,d->bp", output.hidden, direction)

    def jacobian(params, inputs, memory):
        past = None if memory is None else memory.hidden
        tokens, past = jax.jacrev(projected, (0, 1))(params["tokens"]["table"], past, params, inputs, memory)
        return jnp.abs(tokens).max(axis=-1), None if past is None else jnp.abs(past).max(axis=(2, -1))

    return jax.jit(jacobian, compiler_options=QUICK)


@pytest.mark.parametrize("name", CASES)
def test_a_prediction_depends_on_exactly_what_the_objective_shows(name):
    case = CASES[name]
    batch = continuation(case.model) if case.model.memory_length else text(case.model)
    for seed in range(2):
        inputs, targets = prepare(case.objective, batch, seed)
        memory = some_memory(case.model, batch)
        by_position = inputs.replace(tokens=jnp.arange(ROWS * LENGTH).reshape(ROWS, LENGTH))
        tokens, past = sensitivity(case.model)(loud(case.model), by_position, memory)
        depends = np.asarray(tokens)[:, :, : ROWS * LENGTH].reshape(ROWS, -1, ROWS, LENGTH) != 0
        used = np.take_along_axis(batch.document, np.asarray(inputs.predict), axis=1) > 0
        if case.objective.query_stream:
            used = np.asarray(targets.weights) > 0
        assert used.any()
        expected = np.zeros_like(depends)
        expected[np.arange(ROWS), :, np.arange(ROWS)] = allowed(case, batch, inputs, targets)
        np.testing.assert_array_equal(depends[used], expected[used])
        if memory is not None:
            check_memory(batch, inputs, memory, np.asarray(past), used)


def check_memory(batch, inputs, memory, past, used):
    """A prediction depends on the slots that are valid and hold its own document or nothing, in its own row."""
    own = np.take_along_axis(batch.document, np.asarray(inputs.predict), axis=1)[:, :, None]
    told = np.asarray(memory.document)[:, None]
    expected = np.zeros(past.shape, bool)
    visible = np.asarray(memory.valid)[:, None] & ((told == own) | (told == 0))
    expected[np.arange(ROWS), :, np.arange(ROWS)] = visible
    assert visible.any() and not visible.all()
    np.testing.assert_array_equal((past != 0)[used], expected[used])


def never_shown(objective: Objective) -> Objective:
    """The same, no target of which is shown as it is."""
    if isinstance(objective, MaskedLm):
        return dataclasses.replace(objective, mask_share=0.5, random_share=0.5)
    if isinstance(objective, MaskedNextToken):
        return MaskedNextToken(never_shown(objective.hiding))
    if isinstance(objective, Mixture):
        return dataclasses.replace(objective, parts=tuple(map(never_shown, objective.parts)))
    return objective


def ahead(objective: Objective) -> int:
    """How far behind the place that predicts it a target stands."""
    if isinstance(objective, CausalLm):
        return {"forward": 1, "backward": -1}[objective.direction]
    return 1 if isinstance(objective, PrefixLm | MaskedNextToken) else 0


@pytest.mark.parametrize("name", CASES)
def test_the_answer_changes_no_prediction_of_it(name):
    case = CASES[name]
    objective = never_shown(case.objective)
    batch = text(case.model)
    inputs, targets = prepare(objective, batch)
    before, _ = read(case.model, inputs)
    offset = np.array([ahead(part(objective, row)) for row in range(ROWS)])
    weights = np.asarray(targets.weights) > 0
    for p in range(weights.shape[1]):
        tokens, asked = batch.tokens.copy(), np.flatnonzero(weights[:, p])
        answer = np.asarray(inputs.predict)[asked, p] + offset[asked]
        np.testing.assert_array_equal(np.asarray(targets.labels)[asked, p], tokens[asked, answer])
        tokens[asked, answer] = 4 + (tokens[asked, answer] - 3) % (VOCAB.size - 4)
        after, _ = read(case.model, prepare(objective, batch.replace(tokens=tokens))[0])
        np.testing.assert_array_equal(np.asarray(after.hidden)[asked, p], np.asarray(before.hidden)[asked, p])


@pytest.mark.parametrize("name", [name for name in CASES if "permutation" in name])
def test_an_earlier_target_changes_the_later_ones(name):
    case = CASES[name]
    batch = text(case.model)
    inputs, targets = prepare(case.objective, batch)
    before = np.asarray(read(case.model, inputs)[0].hidden)
    used, predict = np.asarray(targets.weights) > 0, np.asarray(inputs.predict)
    rank = np.where(used, np.take_along_axis(np.asarray(inputs.order), predict, axis=1), -1)
    tokens, row = batch.tokens.copy(), np.arange(ROWS)
    first = np.where(used, rank, 10**6).argmin(axis=1)
    tokens[row, predict[row, first]] = 4 + (tokens[row, predict[row, first]] - 3) % (VOCAB.size - 4)
    after = np.asarray(read(case.model, prepare(case.objective, batch.replace(tokens=tokens))[0])[0].hidden)
    changed = (after != before).any(axis=-1)
    together = np.take_along_axis(batch.document, predict, axis=1)
    together = together == together[row, first][:, None]
    np.testing.assert_array_equal(changed[used], (together & (rank > rank[row, first][:, None]))[used])
