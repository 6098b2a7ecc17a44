"""Ctrl-C and SIGTERM: a run ends after its step, saved, and goes on as if it had never ended."""

import os
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import ablation.trials
import commands
import training.loop
from ablation.trials import Trainer, trial
from training.build import build_run
from training.checkpoint import Checkpoints
from training.interrupt import SIGNALS, Interrupt, Interrupted

RARELY = {"training": {"log_every": 4, "keep": 1}}  # 7 is no step that is recorded or saved


@pytest.fixture(autouse=True)
def _heard():
    """Ctrl-C is heard, also where the tests were started in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return commands.write_config(tmp_path_factory.mktemp("interrupt"))


@pytest.fixture(scope="module")
def go(config):
    """Trains in a folder; what is compiled is compiled once."""
    run = build_run(commands.experiment(config, "gpt", **RARELY), lambda line: None)
    programs = run.programs()

    def go(workdir, **options):
        with commands.quick():
            return training.loop.train(run, workdir, programs=programs, **options)

    return go


@pytest.fixture(scope="module")
def straight(go, tmp_path_factory):
    """A run that nobody stopped."""
    workdir = tmp_path_factory.mktemp("straight")
    return workdir, go(workdir)


# The first step, one that is saved anyway, one that is not even recorded, and the last.
@pytest.mark.parametrize(("step", "number"), [*zip((1, 6, 7, 12), SIGNALS * 2, strict=True)])
def test_an_interrupted_run_is_saved_and_ends_as_one_that_never_was(go, straight, tmp_path, step, number):
    workdir, undisturbed = straight
    called = []

    def interrupt(done):
        called.append(done)
        if done == step - 1:
            signal.raise_signal(number)

    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(Interrupted, match=f"stopped after step {step} of 12, which is saved"):
        go(tmp_path, before_step=interrupt)
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert called == list(range(step)) and Checkpoints(tmp_path).latest == step
    recorded = [line["step"] for line in commands.records(tmp_path) if "split" not in line]
    assert recorded == [due for due in (1, 3, 4, 5, 6, 8, 9, 10, 12) if due <= step]
    resumed = go(tmp_path)
    for name in ("tokens", "predicted", "held_out"):
        assert getattr(resumed, name) == getattr(undisturbed, name)
    commands.assert_same_run(tmp_path, workdir)


def test_a_run_that_is_asked_before_its_first_step_makes_none(go, tmp_path, monkeypatch):
    records = training.loop.Records

    def asked(*arguments):
        signal.raise_signal(signal.SIGTERM)
        return records(*arguments)

    monkeypatch.setattr(training.loop, "Records", asked)
    with pytest.raises(Interrupted, match=r"stopped after step 0 of 12$"):
        go(tmp_path, before_step=pytest.fail)
    assert Checkpoints(tmp_path).steps == []


def test_a_second_signal_has_the_effect_it_has_on_any_process():
    before = [signal.getsignal(each) for each in SIGNALS]
    with Interrupt() as interrupt:
        assert not interrupt.asked(0)
        signal.raise_signal(signal.SIGINT)
        assert interrupt.asked(0)
        assert [signal.getsignal(each) for each in SIGNALS] == [signal.SIG_DFL] * 2
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            signal.raise_signal(signal.SIGINT)
            assert not interrupt.asked(0) and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            signal.raise_signal(signal.SIGTERM)
            assert interrupt.asked(0) and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_command_that_is_asked_to_stop_exits_with_0_and_says_how_to_resume_it(config, tmp_path):
    workdir = tmp_path / "a run"
    fields = ("total_steps=20000", "warmup_steps=2")  # on a busy machine a short run would end before the signal
    arguments = [f"--config={config}:gpt", f"--workdir={workdir}", "--config.training.save_every=20000"]
    arguments += ["--config.training.eval_every=20000", *(f"--config.optimizer.{field}" for field in fields)]
    process = commands.start("train.py", *arguments)
    while not (workdir / "metrics.jsonl").exists() or not (workdir / "metrics.jsonl").read_text():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    done = commands.finish(process)
    assert done.code == 0 and "Traceback" not in done.err
    said, resume = done.out.splitlines()[-2:]
    step = Checkpoints(workdir).latest
    assert said == f"{workdir}: stopped after step {step} of 20000, which is saved"
    assert resume.startswith("resume with: ")
    command = shlex.split(resume.removeprefix("resume with: "))
    assert command == [sys.executable, str(commands.ROOT / "train.py"), *arguments]
    assert [line["step"] for line in commands.records(workdir)] == list(range(1, step + 1))
    assert int(np.asarray(commands.stored(workdir)["step"])) == step


ELSEWHERE = """
import signal
from training import flags
signal.signal(signal.SIGINT, signal.default_int_handler)
flags.run_command(lambda: signal.raise_signal(signal.SIGINT))
"""


def test_ctrl_c_outside_of_a_run_ends_a_command_by_the_signal_and_with_one_word():
    environment = os.environ | {"PYTHONPATH": str(commands.ROOT)}
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "interrupted\n")


def test_a_suite_that_is_asked_to_stop_does_not_go_on_with_the_next_trial(config, tmp_path, monkeypatch):
    trials = [trial(tmp_path, "gpt", commands.experiment(config, "gpt"), 12, seed) for seed in (0, 1)]
    begun = []

    def stopped(run, folder, **options):
        begun.append(folder)
        raise Interrupted

    monkeypatch.setattr(ablation.trials, "train", stopped)
    with pytest.raises(Interrupted):
        Trainer(lambda line: None).train(trials)
    assert begun == [trials[0].folder] and trials[0].diverged is None


def test_the_demo_stops_too_and_does_not_promise_to_go_on(tmp_path, monkeypatch):
    def stopped(run, folder, **options):
        raise Interrupted(f"{folder}: stopped after step 1 of 2, which is saved")

    monkeypatch.setattr(training.loop, "train", stopped)
    done = commands.run("demo.py", "--steps=2", f"--workdir={tmp_path}")
    assert done.code == 0 and "resume with" not in done.out
    assert done.out.endswith(
        f"{tmp_path}/bert: stopped after step 1 of 2, which is saved; the same command trains all three anew\n"
    )
    assert [folder.name for folder in tmp_path.iterdir()] == []
