"""One trainer for a folder."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

import commands
from batch import InputError
from training.lock import FILE, locked


def test_the_second_trainer_of_a_folder_is_refused_and_changes_nothing(tmp_path):
    experiment, refused = commands.experiment(commands.write_config(tmp_path), "gpt"), []

    def second(done):
        if done == 1:
            before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
            with pytest.raises(InputError) as caught:
                commands.trained(experiment, tmp_path / "run")
            refused.append(str(caught.value))
            assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before

    commands.trained(experiment, tmp_path / "run", before_step=second)
    (sentence,) = refused
    assert sentence.startswith(f"--workdir={tmp_path / 'run'}: process {os.getpid()} of ")
    assert sentence.endswith(" is training in it; wait until it ends, or name another folder.")
    commands.trained(experiment, tmp_path / "run")  # nobody is in it any more


HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
file.write("the other")
file.flush()
print("held", flush=True)
time.sleep(1000)
"""


def test_a_lock_ends_with_its_process(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / FILE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="the other is training in it"), locked(tmp_path, pytest.fail):
            pass
        process.kill()
    with locked(tmp_path, pytest.fail):
        assert (tmp_path / FILE).read_text().startswith(f"process {os.getpid()} of ")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_the_file_system_has_no_locks_the_run_says_so_and_goes_on(tmp_path, monkeypatch, number):
    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    said, inside = [], False
    with locked(tmp_path, said.append):
        inside = True
    assert inside
    assert said == [f"{tmp_path}: cannot be locked ({os.strerror(number)}); see to it that nothing else trains in it"]


def test_another_error_of_the_lock_is_not_taken_for_a_file_system_without(tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="broken"), locked(tmp_path, pytest.fail):
        pass
