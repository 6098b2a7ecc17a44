"""A trainer that is killed again and again, at any moment, ends as one that never was; ORDERLY_KILLS says how often."""

import contextlib
import json
import os
import random
import signal
import time

import commands
from training.checkpoint import Checkpoints

KILLS = int(os.environ.get("ORDERLY_KILLS", "5"))
TOTAL = 16 * (KILLS + 1)


def halted_while_it_saves(process, workdir):
    """Whether the process, stopped as soon as a temporary folder is seen, has left one there."""
    if not list((workdir / "checkpoints").glob("*tmp*")):
        return False
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    if list((workdir / "checkpoints").glob("*tmp*")):
        return True
    process.send_signal(signal.SIGCONT)
    return False


def last_step(workdir):
    """The newest step that metrics.jsonl has whole."""
    with contextlib.suppress(FileNotFoundError):
        lines = (workdir / "metrics.jsonl").read_bytes().split(b"\n")[:-1]
        return json.loads(lines[-1])["step"] if lines else 0
    return 0


def kill(process, workdir, rng, *, while_saving):
    """Waits for a random moment, or for a save, and kills."""
    until, pause = last_step(workdir) + rng.randint(1, 6), rng.random() / 10
    while process.poll() is None:
        if while_saving:
            if halted_while_it_saves(process, workdir):
                break
        elif last_step(workdir) >= until:
            time.sleep(pause)
            break
        time.sleep(0.001)
    assert process.poll() is None, process.communicate()
    process.kill()
    process.communicate()


def test_a_run_killed_with_sigkill_again_and_again_ends_bit_identical(tmp_path):
    config, rng = commands.write_config(tmp_path), random.Random(0)
    groups = {"optimizer": {"total_steps": TOTAL}, "training": {"log_every": 1, "keep": 1}}
    commands.trained(commands.experiment(config, "xlnet", **groups), tmp_path / "straight")
    arguments = [f"--config={config}:xlnet", f"--config.optimizer.total_steps={TOTAL}", "--config.training.keep=1"]
    killed, saving = tmp_path / "killed", rng.randrange(KILLS)
    for number in range(KILLS):
        process = commands.start("train.py", *arguments, f"--workdir={killed}")
        kill(process, killed, rng, while_saving=number == saving)
        left = list((killed / "checkpoints").glob("*tmp*"))
        assert left or number != saving
        assert (Checkpoints(killed).latest or 0) < TOTAL, "it ended before it was killed"
    reached = Checkpoints(killed).latest
    again = commands.finish(commands.start("train.py", *arguments, f"--workdir={killed}"))
    assert again.code == 0 and f"resumed at step {reached}" in again.err, again.err
    assert int(commands.stored(killed)["step"]) == TOTAL
    assert any(name.startswith("memory/") for name in commands.stored(killed))
    commands.assert_same_run(killed, tmp_path / "straight")
