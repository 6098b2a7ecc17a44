"""A run that was stopped between saves ends as one that never was: parameters, optimizer, memory and records."""

import shutil

import pytest

import commands
from training.checkpoint import Checkpoints
from training.manifest import MANIFEST, write_manifest


class Stop(Exception):
    """What ends a run between two steps."""


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
    commands.assert_same_run(tmp_path / "stopped", tmp_path / "straight")


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


def test_a_damaged_checkpoint_is_left_for_the_one_before_it_and_the_run_ends_as_if_nothing_had_been(tmp_path):
    experiment = commands.experiment(commands.write_config(tmp_path), "gpt")
    commands.trained(experiment, tmp_path / "straight")
    shutil.copytree(tmp_path / "straight", tmp_path / "damaged")
    for step in (9, 12):
        (tmp_path / f"damaged/checkpoints/{step}/metrics.json").unlink()
    called = []
    commands.trained(experiment, tmp_path / "damaged", before_step=called.append)
    assert called == [10, 11]
    shutil.rmtree(tmp_path / "straight/checkpoints/9")
    shutil.rmtree(tmp_path / "damaged/checkpoints/9")
    commands.assert_same_run(tmp_path / "damaged", tmp_path / "straight")


def test_a_run_whose_checkpoints_were_told_no_counts_takes_them_from_its_records(tmp_path):
    experiment = commands.experiment(commands.write_config(tmp_path), "gpt")
    before = commands.trained(experiment, tmp_path / "run")
    latest = tmp_path / "run/checkpoints/12"
    (latest / "metrics.json").write_text("{}")
    (latest / MANIFEST).unlink()
    write_manifest(latest)
    after = commands.trained(experiment, tmp_path / "run")
    assert (after.tokens, after.predicted) == (before.tokens, before.predicted)
