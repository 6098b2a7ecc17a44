"""What is said of a run before it begins: operations, corruption, parameters, and what its first step takes."""

import dataclasses
import math
import re

import jax
import numpy as np
import pytest
from flax import nnx

import cases
import commands
from models import BertConfig, GptConfig, XlnetConfig, build_model
from models.flops import forward_flops, training_flops
from models.parameters import initialize
from objectives import CausalLm, MaskedLm
from training.build import build_run
from training.corruption import measured_corruption
from training.describe import data_report, describe, rehearse
from training.state import init_state, num_parameters

# Shapes at which the products dominate what else a layer does.
WIDE = {
    "num_layers": 1,
    "num_heads": 2,
    "model_dim": 256,
    "mlp_dim": 1024,
    "dropout_rate": 0.0,
    "attention_dropout_rate": 0.0,
}
B, L, P, V = 2, 64, 16, 2048


@pytest.mark.parametrize(
    ("config", "query_stream"),
    [
        (BertConfig(**WIDE, max_length=L), False),
        (BertConfig(**WIDE, max_length=L, pair_head=False), False),
        (GptConfig(**WIDE, max_length=L), False),
        (XlnetConfig(**WIDE), False),
        (XlnetConfig(**WIDE), True),
        (XlnetConfig(**WIDE, memory_length=48), True),
        (XlnetConfig(**WIDE, memory_length=48), False),
        (XlnetConfig(**WIDE, pair_head=True), True),
        (XlnetConfig(**WIDE, distance_form="shift", memory_length=48), True),
        (GptConfig(**WIDE, **cases.MODERN, positions="rotary"), False),
        (XlnetConfig(**WIDE, **cases.MODERN, relative_segments=False, memory_length=48), True),
    ],
    ids=[
        *("bert", "bert-no-pairs", "gpt", "xlnet", "xlnet-query", "xlnet-query-memory", "xlnet-memory", "xlnet-pairs"),
        *("xlnet-shift", "gpt-modern", "xlnet-modern"),
    ],
)
def test_counted_operations_are_those_of_the_compiled_forward_pass(config, query_stream):
    """A scan's body is counted once, whatever the number of layers: one layer is compared."""
    model = build_model(config, V, remat="none")
    graphdef = nnx.graphdef(model)
    inputs = cases.given(np.zeros(L), np.zeros((B, L)), np.arange(P), query_stream=query_stream)
    inputs = jax.tree.map(lambda leaf: leaf.astype(bool if leaf.dtype == bool else np.int32), inputs)

    def forward(params, memory):
        bound = nnx.merge(graphdef, params)
        output = bound(inputs, memory)
        pair = bound.pair_logits(output.pooled) if config.pair_head else None
        return bound.logits(output.hidden), pair, output.memory

    params = jax.eval_shape(lambda: initialize(model, jax.random.key(0)))
    memory = jax.eval_shape(lambda: model.init_memory(B))
    counted = jax.jit(forward).lower(params, memory).compile().cost_analysis()["flops"]
    ours = forward_flops(config, V, B, L, P, query_stream=query_stream)
    assert ours == pytest.approx(counted, rel=0.05)


def test_operations_grow_with_the_layers_and_threefold_in_training():
    one, two, three = (
        forward_flops(dataclasses.replace(GptConfig(**WIDE), num_layers=n), V, B, L, L, query_stream=False)
        for n in (1, 2, 3)
    )
    assert three - two == two - one > 0
    assert training_flops(GptConfig(**WIDE), V, B, L, L, query_stream=False) == 3 * one


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("describe")
    path = commands.write_config(folder)
    (folder / "corpus.txt").write_text(commands.text(documents=120))
    return path


def built(config, name, **groups):
    return build_run(commands.experiment(config, name, **groups), lambda line: None)


def test_the_measured_corruption_is_the_declared_one(config):
    data = {"length": 64, "batch_size": 32, "layout": "windows"}
    run = built(config, "bert", data=data, model={"max_length": 64})
    with commands.quick():
        found = measured_corruption(MaskedLm(rate=0.25), run.train, run.vocab, seed=0)
    assert found["targets_per_row"] == 16 and found["rows_without_targets"] == 0
    targets = 16 * 32 * min(8, run.train.steps_per_epoch)
    stays = 0.1 + 0.1 / len(run.vocab.ordinary)  # a random token may be the one that was there
    for name, share in (("mask", 0.8), ("random", 0.2 - stays), ("is", stays)):
        deviation = math.sqrt(share * (1 - share) / targets)
        name = {"mask": "shown_as_mask", "random": "shown_as_random", "is": "shown_as_is"}[name]
        assert abs(found[name] - share) < 4 * deviation
    assert found["shown_as_mask"] + found["shown_as_random"] + found["shown_as_is"] == pytest.approx(1)


def test_an_objective_that_hides_nothing_is_measured_as_such(config):
    run = built(config, "gpt")
    with commands.quick():
        found = measured_corruption(CausalLm(), run.train, run.vocab, seed=0)
    assert found["shown_as_mask"] == found["shown_as_random"] == 0 and found["targets_per_row"] == 15


@pytest.mark.parametrize("model", ["bert", "gpt", "xlnet"])
def test_the_description_says_what_the_model_is_and_the_data_is(config, model):
    run = built(config, model)
    with commands.quick():
        text, report = describe(run), data_report(run)
        state = init_state(run.model, run.optimizer, 4, seed=0)
    assert f"{num_parameters(state.params):,} parameters" in text and f"{4 * 16} positions" in text
    assert run.prepared.description in text and str(report) in text
    assert report.corruption is not None and report.corruption["targets_per_row"] > 0


def test_pairs_are_described_with_the_balance_of_their_labels_and_a_warning_where_it_is_skewed(config):
    groups = {"data": {"layout": "pairs"}, "model": {"pair_head": True}, "objective": {"pair_weight": 1.0}}
    run = built(config, "bert", **groups)
    with commands.quick():
        text = describe(run)
    share = float(re.search(r"labels +([\d.]+)% random B", text)[1])
    assert ("warning" in text and "random B" in text.split("warning")[-1]) == (not 45 <= share <= 60)


def test_a_rehearsal_makes_the_first_step_of_the_run(config, tmp_path):
    run = built(config, "gpt", optimizer={"total_steps": 1, "warmup_steps": 0})
    with commands.quick():
        text = rehearse(run)
    commands.trained(run.experiment, tmp_path / "run")
    loss = commands.records(tmp_path / "run")[0]["loss"]
    assert f"first step: loss {loss:.3f}" in text
    assert "MiB of state and batch" in text and "the whole run: 1 steps, 64 positions" in text


def test_a_rehearsal_starts_from_the_parameters_that_the_run_would(config):
    run = built(config, "gpt", optimizer={"total_steps": 1, "warmup_steps": 0})
    zeros = jax.tree.map(np.zeros_like, init_state(run.model, run.optimizer, 4, seed=0).params)
    with commands.quick():
        text = rehearse(run, zeros)
    assert f"first step: loss {math.log(run.vocab.size):.3f}" in text  # zero logits: every token is equally likely
