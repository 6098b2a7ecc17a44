"""Several processes train one run: they end as one process does, also after one of them was killed."""

import os
import socket
import time

import numpy as np
import pytest
from flax import traverse_util

import commands
from batch import InputError
from models import build_model
from models.parameters import abstract_params
from training.checkpoint import Checkpoints
from training.processes import join
from training.workdir import stored_experiment, stored_tokenizer

ALONE = {"JAX_NUM_CPU_DEVICES": "1"}
ON_ONE_HOST = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_LOCALID": "0"}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def start_all(number, *arguments, slurm=False):
    """The processes of one run, each with one device: told where the others are, or finding it as under SLURM."""
    port, started = free_port(), []
    for each in range(number):
        flags = f"--coordinator=localhost:{port}", f"--num_processes={number}", f"--process_id={each}"
        task = {"SLURM_NTASKS": f"{number}", "SLURM_PROCID": f"{each}", "JAX_COORDINATOR_PORT": f"{port}"} | ON_ONE_HOST
        flags, task = (("--coordinator=auto",), task) if slurm else (flags, {})
        started.append(commands.start("train.py", *arguments, *flags, **ALONE, **task))
    return started


def wait_for_checkpoint(workdir, processes):
    while Checkpoints(workdir).latest is None:
        assert all(process.poll() is None for process in processes), [process.communicate() for process in processes]
        time.sleep(0.01)


def test_a_run_of_two_processes_goes_on_with_four_after_one_was_killed_and_ends_as_that_of_one(tmp_path):
    config, total = commands.write_config(tmp_path), 40
    cadence = {"eval_every": total, "save_every": 5, "keep": 99, "log_every": 1}
    experiment = commands.experiment(config, "gpt", optimizer={"total_steps": total}, training=cadence)
    given = [f"--config.optimizer.total_steps={total}", *(f"--config.training.{k}={v}" for k, v in cadence.items())]
    workdir, straight = tmp_path / "several", tmp_path / "straight"
    arguments = [f"--config={config}:gpt", f"--workdir={workdir}", *given]
    two = start_all(2, *arguments)
    commands.trained(experiment, straight)
    wait_for_checkpoint(workdir, two)
    for process in reversed(two):  # the second dies, and the scheduler ends what is left of the job
        process.kill()
        process.communicate()
    reached = Checkpoints(workdir).latest
    assert reached is not None and reached < total, "it ended before it was killed"
    four = [commands.finish(process) for process in start_all(4, *arguments, "--config.mesh.fsdp=2", slurm=True)]
    assert [done.code for done in four] == [0] * 4, [done.err for done in four]
    assert f"resumed at step {reached}" in four[0].err
    said = [[line for line in done.out.splitlines() if not line.startswith("[Gloo]")] for done in four]
    assert "held-out loss" in said[0][-1] and said[1:] == [[]] * 3, "the first speaks for all"
    assert_same_run(workdir, straight)


def test_a_signal_to_one_process_stops_all_of_them_at_one_step(tmp_path):
    total, workdir = 100_000, tmp_path / "run"
    given = [f"--config.optimizer.total_steps={total}", f"--config.training.eval_every={total}"]
    given += ["--config.training.save_every=5", "--config.training.keep=9"]
    two = start_all(2, f"--config={commands.write_config(tmp_path)}:gpt", f"--workdir={workdir}", *given)
    wait_for_checkpoint(workdir, two)
    two[1].terminate()
    first, second = (commands.finish(process) for process in two)
    assert [first.code, second.code] == [0, 0], (first.err, second.err)
    latest = Checkpoints(workdir).latest
    assert f"stopped after step {latest} of {total}, which is saved\nresume with: " in first.out
    assert "resume with" not in second.out, "the first speaks for all"


def assert_same_run(one, other):
    """The same text, the same losses, the same parameters but key biases, at every checkpoint."""
    records = [commands.records(one), commands.records(other)]
    assert [record["step"] for record in records[0]] == [record["step"] for record in records[1]]
    for record, expected in zip(*records, strict=True):
        assert record["loss"] == pytest.approx(expected["loss"], abs=1e-5)
        counted = ("split", "stream", "tokens", "predicted", "targets")
        assert [record.get(name) for name in counted] == [expected.get(name) for name in counted]
    assert Checkpoints(one).steps == Checkpoints(other).steps
    model = abstract_params(build_model(stored_experiment(one).model, stored_tokenizer(one).vocab.size))
    read = [Checkpoints(each).restore_params(records[0][-1]["step"], model) for each in (one, other)]
    leaves, others = (traverse_util.flatten_dict(params, sep="/") for params in read)
    assert leaves.keys() == others.keys()
    for name in (name for name in leaves if not name.endswith("key/bias")):
        np.testing.assert_allclose(leaves[name], others[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ((None, 2, None), "--num_processes=2: needs --coordinator"),
        ((None, None, 0), "--process_id=0: needs --coordinator"),
        (("host:1", None, 0), "--coordinator=host:1: needs --num_processes"),
        (("host:1", 2, 2), "needs --num_processes and a --process_id below it"),
        (("host", 2, 1), "--coordinator=host: has no port"),
    ],
)
def test_processes_that_cannot_find_each_other_are_refused(flags, sentence):
    with pytest.raises(InputError, match=sentence):
        join(*flags)


def test_nothing_is_detected_where_there_is_no_cluster(tmp_path, monkeypatch):
    for name in (name for name in os.environ if name.startswith(("SLURM", "OMPI", "PMI", "KUBERNETES"))):
        monkeypatch.delenv(name)
    config = commands.write_config(tmp_path)
    alone = commands.finish(commands.start("train.py", f"--config={config}:gpt", "--dry_run", "--coordinator=auto"))
    assert alone.sentence.startswith("--coordinator=auto: JAX found no SLURM")
