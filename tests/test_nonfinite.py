"""A gradient that is not finite: left out of a run, it leaves no trace but a count."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ablation.trials
import commands
from ablation.trials import Trainer, trial
from batch import Mean
from cases import ALIKE, build
from models import XlnetConfig
from objectives import PermutationLm
from texts import VOCAB, only_ordinary
from training.build import Run
from training.checkpoint import Checkpoints
from training.config import OptimizerConfig
from training.loop import Diverged
from training.optimizer import make_optimizer
from training.state import init_state
from training.step import make_train_step

POISON = int(VOCAB.ordinary[-1])


@dataclasses.dataclass(frozen=True)
class Poisoned(PermutationLm):
    """Its loss alone, or its gradient alone, is not a number as soon as one label is POISON."""

    where: str = "loss"

    def loss(self, model, output, targets):
        losses, metrics = super().loss(model, output, targets)
        healthy = 1.0 - ((targets.labels == POISON) & (targets.weights > 0)).any()
        total = losses["loss"].total
        if self.where == "loss":
            total = jnp.where(healthy, total, jnp.nan)
        else:
            total = total + 0 * jnp.sqrt(healthy * jnp.square(output.hidden).sum())  # the slope of a root at 0
        return {**losses, "loss": Mean(total, losses["loss"].weight)}, metrics


@pytest.mark.parametrize(("where", "parts"), [("loss", 1), ("gradient", 2)])
def test_a_step_that_is_left_out_changes_nothing_but_its_number(where, parts):
    model = build(XlnetConfig(1, 2, 16, 32, 0.1, 0.1, memory_length=8), VOCAB.size)
    optimizer = make_optimizer(OptimizerConfig(total_steps=5, warmup_steps=0))
    objective = Poisoned(num_predict=6, where=where)
    step, plain = (
        jax.jit(
            make_train_step(model, objective, VOCAB, optimizer, accumulate=parts, on_nonfinite=what),
            compiler_options=ALIKE,
        )
        for what in ("skip", "stop")
    )

    bad = "gradient_norm" if where == "gradient" else "loss"

    def host(state):
        return jax.tree.map(lambda leaf: np.array(leaf, copy=True), state)

    def assert_same(one, other):
        jax.tree.map(np.testing.assert_array_equal, one, other)

    healthy = only_ordinary(4, 12)
    healthy = healthy.replace(tokens=np.where(healthy.tokens == POISON, VOCAB.ordinary[0], healthy.tokens))
    poisoned = healthy.replace(tokens=healthy.tokens.copy())
    poisoned.tokens[1] = POISON  # of the second microbatch, if there are two
    states = [host(init_state(model, optimizer, 4, 0))]
    for batch, skipped in ((healthy, 0), (poisoned, 1), (healthy, 0)):
        state, record = step(jax.tree.map(jnp.asarray, states[-1]), batch, 0)
        states.append(host(state))
        assert float(record["skipped"]) == skipped
        assert np.isfinite(record[bad] if bad == "gradient_norm" else record[bad].total) == (not skipped)
        assert np.isfinite(record["parameter_norm"])
        if not skipped:  # as if nobody had looked
            assert_same(states[-1], host(plain(jax.tree.map(jnp.asarray, states[-2]), batch, 0)[0]))
    assert [int(state.step) for state in states] == [0, 1, 2, 3]
    assert_same(states[2].replace(step=states[1].step), states[1])
    assert states[1].memory.valid.any() and any(leaf.any() for leaf in jax.tree.leaves(states[1].opt_state))


@pytest.fixture
def failing(monkeypatch):
    """Makes steps report what the jitted step reports: which of their numbers are not finite, and whether left out."""

    def fail(steps, *names, skipped):
        train_step = Run.train_step

        def make(run):
            step = train_step(run)

            def call(state, batch, seed):
                number = int(state.step) + 1
                state, record = step(state, batch, seed)
                if number not in steps:
                    return state, record
                bad = {name: Mean(np.float32(np.nan), np.float32(1)) if name == "loss" else np.inf for name in names}
                return state, {**record, **bad, "skipped": np.float32(skipped)}

            return call

        monkeypatch.setattr(Run, "train_step", make)

    return fail


def test_steps_that_are_left_out_are_counted_across_a_restart(tmp_path, failing, capsys):
    failing((2, 7, 8), "loss", "gradient_norm", skipped=1)
    config = commands.write_config(tmp_path)
    experiment = commands.experiment(config, "gpt", training={"on_nonfinite": "skip"})

    def stop(done):
        if done == 7:
            raise KeyError

    with pytest.raises(KeyError):
        commands.trained(experiment, tmp_path / "run", before_step=stop)
    assert Checkpoints(tmp_path / "run").latest == 6
    assert commands.trained(experiment, tmp_path / "run").held_out["loss"] > 0
    lines = [line for line in commands.records(tmp_path / "run") if "split" not in line]
    assert [line["skipped"] for line in lines] == [0, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3]
    assert [line["step"] for line in lines if line["loss"] == "nan"] == [2, 7, 8]
    assert "skipped 3" in capsys.readouterr().err


def test_parameters_that_are_not_finite_end_a_run_that_leaves_out_gradients(tmp_path, failing):
    failing((2,), "parameter_norm", skipped=0)
    experiment = commands.experiment(commands.write_config(tmp_path), "gpt", training={"on_nonfinite": "skip"})
    with pytest.raises(Diverged, match=r"step 2: .*parameter_norm=inf"):
        commands.trained(experiment, tmp_path / "run")


def test_arms_share_a_program_where_cadence_alone_differs(tmp_path, monkeypatch):
    config, used = commands.write_config(tmp_path), []
    monkeypatch.setattr(ablation.trials, "train", lambda run, folder, **options: used.append(options["programs"]))
    trainings = ({}, {"log_every": 7}, {"on_nonfinite": "skip"}, {"on_nonfinite": "skip", "keep": 2})
    experiments = [commands.experiment(config, "gpt", training=training) for training in trainings]
    Trainer(lambda line: None).train([trial(tmp_path, f"arm {i}", each, 12, 0) for i, each in enumerate(experiments)])
    first, second, third, fourth = used
    assert first is second and third is fourth and first is not third
