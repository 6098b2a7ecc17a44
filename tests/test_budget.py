"""Budgets: what a step spends is counted, and matched arms spend alike, with schedules that end where they end."""

import dataclasses

import jax
import numpy as np
import pytest

import commands
from ablation.budget import TOLERANCE, Cost, check_parameters, matched_steps, rescheduled, step_cost
from batch import InputError
from configs.shared import TINY
from objectives import CausalLm, MaskedLm, Staged
from training.build import build_run
from training.keys import named_key
from training.schedule import learning_rate

COSTS = {
    "gpt": Cost(tokens=2048, predicted=2016, flops=17e9, seconds=0.2),
    "bert": Cost(tokens=2048, predicted=320, flops=11.5e9, seconds=0.15),
    "xlnet": Cost(tokens=2000, predicted=320, flops=15.4e9, seconds=0.3),
}


@pytest.mark.parametrize("matching", ["tokens", "predicted", "flops", "walltime"])
@pytest.mark.parametrize("reference", COSTS)
def test_matched_arms_spend_what_the_reference_spends(matching, reference):
    steps = matched_steps(
        COSTS, dict.fromkeys(COSTS, reference), dict.fromkeys(COSTS, 100) | {reference: 500}, matching
    )
    assert steps[reference] == 500
    for arm, cost in COSTS.items():
        assert abs(steps[arm] * cost.of(matching) / (500 * COSTS[reference].of(matching)) - 1) <= TOLERANCE
    assert steps[max(COSTS, key=lambda arm: COSTS[arm].of(matching))] == min(steps.values())


def test_arms_of_two_texts_have_two_budgets():
    steps = matched_steps(COSTS, {"gpt": "gpt", "bert": "xlnet", "xlnet": "xlnet"}, {"gpt": 70, "xlnet": 500}, "flops")
    assert steps == {"gpt": 70, "xlnet": 500, "bert": round(500 * 15.4 / 11.5)}


def test_a_budget_that_an_arm_cannot_meet_is_refused():
    with pytest.raises(
        InputError, match=r"--match=predicted: the arm gpt would spend 12\d?\.\d% .* in 1 steps.*total_st"
    ):
        large = {**COSTS, "gpt": dataclasses.replace(COSTS["gpt"], predicted=400)}
        matched_steps(large, dict.fromkeys(COSTS, "bert"), {"bert": 1}, "predicted")
    with pytest.raises(InputError, match="spends none of it"):
        idle = {**COSTS, "none": Cost(2048, 0, 1e9)}
        matched_steps(idle, dict.fromkeys(idle, "gpt"), {"gpt": 10}, "predicted")


@pytest.mark.parametrize("steps", [1, 45, 449, 450, 1237])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd"])
def test_a_schedule_keeps_its_shape_over_other_steps(steps, schedule):
    own = {"schedule": schedule, "decay_steps": 90 if schedule == "wsd" else 0}
    base = dataclasses.replace(TINY.gpt(), optimizer=dataclasses.replace(TINY.gpt().optimizer, **own))
    other = rescheduled(base, steps)
    assert other.optimizer.total_steps == steps
    assert dataclasses.replace(other, optimizer=base.optimizer, training=base.training) == base
    if steps < 45:
        return
    at = np.linspace(0.15, 0.95, 9)  # behind the warm-up, whose steps are whole numbers
    rates = [[float(learning_rate(e.optimizer, round(x * e.optimizer.total_steps))) for x in at] for e in (base, other)]
    np.testing.assert_allclose(rates[1], rates[0], atol=0.05 * base.optimizer.peak_rate)


def test_stages_keep_their_share_of_the_steps():
    staged = dataclasses.replace(TINY.gpt(), objective=Staged((CausalLm(), MaskedLm()), until=(90,)))
    assert rescheduled(staged, 900).objective == Staged((CausalLm(), MaskedLm()), until=(180,))


@pytest.mark.parametrize("steps", [7, 73, 450, 1237])
def test_evaluations_keep_their_number_and_the_last_one_is_at_the_end(steps):
    base = TINY.gpt()
    number = base.optimizer.total_steps // base.training.eval_every
    every = rescheduled(base, steps).training.eval_every
    assert -(-steps // every) == number
    assert steps - (number - 1) * every > every / 2 or steps < 10 * number


def test_a_step_costs_the_targets_that_it_has(tmp_path):
    config = commands.write_config(tmp_path)
    for name in ("bert", "gpt", "xlnet"):
        run = build_run(commands.experiment(config, name), lambda line: None)
        cost, key = step_cost(run), named_key(run.experiment.seed, "corruption")
        count = lambda batch, run=run, key=key: run.experiment.objective.prepare(batch, run.vocab, key)[1].weights  # noqa: E731
        weights = [np.asarray(jax.jit(count)(run.train.batch(i))) for i in range(12)]
        assert cost.predicted == pytest.approx(np.mean([(each > 0).sum() for each in weights]))
        assert cost.tokens == 4 * 16 and np.isnan(cost.seconds)


def test_matched_parameters_agree_to_a_hundredth():
    check_parameters({"one": 10_000, "other": 10_100})
    with pytest.raises(InputError, match=r"arm other: has 10,110 parameters and one 10,000, 1.1% more.*canonical"):
        check_parameters({"one": 10_000, "other": 10_110})
