"""A run that was stopped, however rudely, ends as one that never was: parameters, optimizer, memory and records."""

import json
import signal
import time

import numpy as np
import pytest

import commands
from training.checkpoint import Checkpoints
from training.metrics import deterministic


class Stop(Exception):
    """What ends a run between two steps."""


def assert_same_run(one, other):
    """Every checkpoint, leaf by leaf and bit by bit, and every record but its wall-clock fields."""
    steps = Checkpoints(one).steps
    assert steps == Checkpoints(other).steps
    for step in steps:
        leaves, others = commands.stored(one, step), commands.stored(other, step)
        assert leaves.keys() == others.keys()
        for name, leaf in leaves.items():
            assert leaf.dtype == others[name].dtype
            np.testing.assert_array_equal(leaf, others[name], err_msg=f"{name} of step {step}")
    records = [[deterministic(record) for record in commands.records(workdir)] for workdir in (one, other)]
    assert records[0] == records[1]


def wait_for_step(metrics, step, process):
    """Returns when the record of a training step is on disk."""
    while process.poll() is None:
        lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
        if any(json.loads(line)["step"] >= step for line in lines if line.endswith("\n")):
            return
        time.sleep(0.005)
    raise AssertionError(process.communicate())


def test_a_run_killed_with_sigkill_and_run_again_ends_bit_identical(tmp_path):
    config, total = commands.write_config(tmp_path), 60
    commands.run("train.py", f"--config={config}:gpt", "--dry_run")  # so that neither run waits for the other's cache
    arguments = [f"--config={config}:xlnet", f"--config.optimizer.total_steps={total}"]
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    reference = commands.start("train.py", *arguments, f"--workdir={straight}")
    victim = commands.start("train.py", *arguments, f"--workdir={killed}")
    wait_for_step(killed / "metrics.jsonl", 10, victim)
    victim.kill()
    victim.communicate()
    reached = Checkpoints(killed).latest
    assert reached is not None and reached < total, "it ended before it was killed"
    again = commands.finish(commands.start("train.py", *arguments, f"--workdir={killed}"))
    assert again.code == 0 and f"resumed at step {reached}" in again.err
    assert commands.finish(reference).code == 0
    assert any(name.startswith("memory/") for name in commands.stored(killed))
    assert_same_run(killed, straight)


PAIRS = {
    "model": {"pair_head": True},
    "objective": {"pair_weight": 1.0},
    "data": {"layout": "pairs", "validation": 0.1},  # two documents
    "optimizer": {"accumulate": 2},
}


@pytest.mark.parametrize(
    ("model", "groups"),
    [("bert", PAIRS), ("gpt", {"data": {"layout": "windows", "batch_size": 48}})],  # more than one epoch of windows
    ids=["bert-pairs", "gpt-windows"],
)
def test_a_run_stopped_between_saves_ends_bit_identical(tmp_path, model, groups):
    experiment = commands.experiment(commands.write_config(tmp_path), model, **groups)

    def stop(step):
        if step == 8:
            raise Stop

    with pytest.raises(Stop):
        commands.trained(experiment, tmp_path / "stopped", before_step=stop)
    assert Checkpoints(tmp_path / "stopped").latest == 6
    resumed = commands.trained(experiment, tmp_path / "stopped")
    straight = commands.trained(experiment, tmp_path / "straight")
    assert (resumed.tokens, resumed.predicted) == (straight.tokens, straight.predicted)
    assert resumed.held_out == straight.held_out
    assert_same_run(tmp_path / "stopped", tmp_path / "straight")


def test_ctrl_c_keeps_the_newest_checkpoint_and_says_where_the_run_goes_on(tmp_path, capsys):
    experiment = commands.experiment(commands.write_config(tmp_path), "gpt")

    def interrupt(step):
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        commands.trained(experiment, tmp_path / "run", before_step=interrupt)
    assert "the same command goes on from step 3" in capsys.readouterr().err
    assert Checkpoints(tmp_path / "run").steps == [3]


def test_cadence_and_paths_may_change_when_a_run_is_resumed(tmp_path):
    config = commands.write_config(tmp_path)
    commands.trained(commands.experiment(config, "gpt"), tmp_path / "run")
    (tmp_path / "moved.txt").write_bytes((tmp_path / "corpus.txt").read_bytes())
    changed = commands.experiment(
        config, "gpt", data={"corpus": str(tmp_path / "moved.txt")}, training={"save_every": 2}
    )
    before = commands.records(tmp_path / "run")
    result = commands.trained(changed, tmp_path / "run")
    assert int(result.state.step) == 12 and commands.records(tmp_path / "run") == before


def test_ctrl_c_ends_a_command_by_the_signal_and_with_one_word(tmp_path):
    """Even while it compiles, when the interpreter's own exit may crash."""
    config = commands.write_config(tmp_path)
    longer = "--config.optimizer.total_steps=2000"  # on a busy machine a short run would end before the signal
    process = commands.start("train.py", f"--config={config}:gpt", f"--workdir={tmp_path / 'run'}", longer)
    while not (tmp_path / "run" / "experiment.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    done = commands.finish(process)
    assert done.code == -signal.SIGINT
    assert done.err.splitlines()[-1] == "interrupted" and "Traceback" not in done.err
