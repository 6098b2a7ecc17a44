"""The arithmetic of docs/scaling.md is that of the rules, and the page shows what it says."""

import dataclasses

import pytest

import commands
from benchmarks.scaling import Plan, cost, planned, table
from configs import published
from training.config import MeshConfig

DIM, LAYERS, VOCABULARY, LENGTH = 2048, 24, 50_256, 1024
LAYER = 12 * DIM * DIM  # query, key, value, out; up and down, four times as wide
TABLE = VOCABULARY * DIM


def plan(data: int, fsdp: int, tensor: int, accumulate: int = 1) -> Plan:
    """GPT of 1.3 billion parameters, whose vocabulary can be split."""
    experiment = published.gpt(LAYERS, 16, DIM)
    optimizer = dataclasses.replace(experiment.optimizer, accumulate=accumulate)
    mesh = MeshConfig(data, fsdp, tensor)
    return Plan("1.3B", dataclasses.replace(experiment, mesh=mesh, optimizer=optimizer), VOCABULARY, LENGTH)


def test_the_page_shows_the_table():
    assert table() in (commands.ROOT / "docs" / "scaling.md").read_text()


@pytest.mark.parametrize("shape", [(8, 1, 1), (2, 8, 1), (2, 4, 8)])
def test_a_device_holds_its_share_of_twelve_bytes_a_parameter_and_of_four_for_gradients(shape):
    found, (_, fsdp, tensor) = cost(plan(*shape)), shape
    positions, vectors = LENGTH * DIM, LAYERS * (9 + 4) * DIM + 2 * DIM  # biases and norms
    parameters = (LAYERS * LAYER + TABLE) / (fsdp * tensor) + positions / fsdp + vectors
    assert found.state == 12 * parameters + 3 * 4  # the step, and two counts of updates
    assert found.gradients == 4 * parameters
    assert found.gathered == pytest.approx(8 * ((LAYER + TABLE) / tensor + positions), rel=0.01)


def test_what_is_sent_follows_from_the_rings():
    parameters = LAYERS * LAYER + TABLE
    found = cost(plan(2, 4, 8, accumulate=2))
    rows = 512 // (2 * 4 * 2)
    gathered = (3 * LAYERS * LAYER + 2 * TABLE) / 8  # and the positions, which tensor does not split
    assert found.sent["fsdp"] == pytest.approx(2 * 3 / 4 * 4 * gathered, rel=0.02)
    assert found.sent["data"] == pytest.approx(2 * 1 / 2 * 2 * 4 * parameters / (4 * 8), rel=0.02)
    assert found.sent["tensor"] == 2 * 7 / 8 * 2 * 4 * LAYERS * 6 * rows * LENGTH * DIM
    assert set(cost(plan(1, 1, 1)).sent.values()) == {0.0}


def test_what_is_computed_is_shared_and_does_not_depend_on_the_axis():
    alone = cost(plan(1, 1, 1)).flops
    assert alone == pytest.approx(6 * (LAYERS * LAYER + TABLE) * 512 * LENGTH, rel=0.1)  # and the scores
    assert cost(plan(8, 1, 1)).flops == cost(plan(1, 4, 2)).flops == alone / 8


def test_memory_counts_where_there_is_one():
    large, rows = planned("large", 64), 8192 // 64
    without = dataclasses.replace(large.experiment, model=dataclasses.replace(large.experiment.model, memory_length=0))
    hidden = 24 * rows * 384 * 1024 * 4
    difference = cost(large).state - cost(dataclasses.replace(large, experiment=without)).state
    assert difference == pytest.approx(hidden, rel=0.01)
