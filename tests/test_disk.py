"""A full disk: the run says so in one sentence, keeps the last good checkpoint, and goes on when there is room."""

import contextlib
import errno
import os
import resource

import jax
import jax.numpy as jnp
import pytest

import commands
import training.checkpoint
from batch import InputError
from training.checkpoint import Checkpoints
from training.disk import writing
from training.metrics import Records, read_records

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full(*arguments):
    raise FULL


@contextlib.contextmanager
def room(size):
    """No file may grow beyond `size` bytes: as near to a full disk as a process can come alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def state(step):
    return {"params": {"kernel": jax.random.normal(jax.random.key(step), (1 << 16,))}}


def test_a_save_that_does_not_fit_is_one_sentence_and_the_one_before_it_is_kept(tmp_path):
    states = {step: state(step) for step in (1, 2, 3)}  # what is compiled for them is kept in files too
    with Checkpoints(tmp_path) as checkpoints:
        with room(100_000), pytest.raises(InputError) as caught:
            checkpoints.save(1, states[1])
            checkpoints.wait()
        assert "step 1: its checkpoint cannot be written" in str(caught.value)
        assert "; there is none before it; make room" in str(caught.value)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(2, states[2])
        checkpoints.wait()
        with room(100_000), pytest.raises(InputError) as caught:
            checkpoints.save(3, states[3])
            checkpoints.wait()
        assert str(caught.value) == (
            f"step 3: its checkpoint cannot be written to {checkpoints.folder} ({os.strerror(errno.EFBIG)}); the "
            "checkpoint of step 2 is kept; make room on the disk, and run the same command again."
        )
    assert Checkpoints(tmp_path).steps == [2]
    step, restored = Checkpoints(tmp_path).restore({"params": {"kernel": jnp.zeros(1 << 16)}})
    assert step == 2 and (restored["params"]["kernel"] == states[2]["params"]["kernel"]).all()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, states[3])
    assert sorted(folder.name for folder in checkpoints.folder.iterdir()) == ["3"]


def test_a_run_whose_disk_fills_stops_with_the_last_good_checkpoint_and_goes_on_from_it(tmp_path, monkeypatch):
    config = commands.write_config(tmp_path)
    write, saves = training.checkpoint.write_manifest, []

    def fills(folder):
        saves.append(folder)
        return full() if len(saves) == 3 else write(folder)

    arguments = [f"--config={config}:gpt", f"--workdir={tmp_path / 'run'}"]
    with monkeypatch.context() as patch:
        patch.setattr(training.checkpoint, "write_manifest", fills)
        sentence = commands.run("train.py", *arguments).sentence  # with no Traceback of Orbax before it
    assert sentence.startswith("step 6: ") and "No space left on device" in sentence and "step 5 is kept" in sentence
    assert Checkpoints(tmp_path / "run").steps == [3, 5]
    done = commands.run("train.py", *arguments)
    assert done.code == 0 and "resumed at step 5" in done.err
    commands.trained(commands.experiment(config, "gpt"), tmp_path / "straight")
    commands.assert_same_run(tmp_path / "run", tmp_path / "straight")


def fill(workdir):
    with Records(workdir, 0) as records, room(1000):
        for step in range(1, 100):
            records.write(step, {"loss": 1.0})


def test_records_that_do_not_fit_are_one_sentence_and_the_file_can_be_read(tmp_path):
    with pytest.raises(InputError, match=r"its records cannot be written \(File too large\); make room on the disk"):
        fill(tmp_path)
    written = read_records(tmp_path)
    assert 5 < len(written) < 99 and [record["step"] for record in written] == list(range(1, len(written) + 1))
    with Records(tmp_path, 3) as records:
        records.write(4, {"loss": 1.0})
    assert [record["step"] for record in read_records(tmp_path)] == [1, 2, 3, 4]


def test_what_is_no_fault_of_the_disk_stays_what_it_is():
    with pytest.raises(ValueError, match=r"^shape$"), writing(lambda reason: "x"):
        raise ValueError("shape")
    with (
        pytest.raises(InputError, match=r"^x No space left on device; make"),
        writing(lambda reason: f"x {reason}"),
    ):
        raise ValueError("RESOURCE_EXHAUSTED: Failed: No space left on device [os_error_code='28']")
