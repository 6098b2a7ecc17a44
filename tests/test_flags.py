"""The command line sets what it names, refuses the rest in one sentence, and checks only final values."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import commands
from batch import InputError
from training.flags import load, parse_experiment, split_arguments
from training.overrides import override, parse

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Wheel:
    spokes: int = 36
    width: float = 1.5


@dataclasses.dataclass(frozen=True)
class Track:
    gears: int = 1


@dataclasses.dataclass(frozen=True)
class Road:
    gears: int = 22
    wheel: Wheel = Wheel()
    low: int = 2
    high: int = 5

    def __post_init__(self):
        if self.low >= self.high:
            raise InputError(f"frame.low={self.low}: must be below frame.high={self.high}.")


@dataclasses.dataclass(frozen=True)
class Bicycle:
    frame: Track | Road = Road()
    color: Literal["red", "blue", 0] = "red"
    rider: str | None = None
    height: int | None = 60
    lit: bool = False
    sizes: tuple[int, ...] = (1,)
    mix: tuple[float, float, float] = (0.8, 0.1, 0.1)
    names: tuple[str, ...] = ()
    owner: dict | None = None
    serial: int = dataclasses.field(default=7, init=False)


def refusal(*assignments: tuple[str, str], config: object = None) -> str:
    with pytest.raises(InputError) as caught:
        override(config or Bicycle(), assignments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("height", "1e5", 100_000),
        ("height", "1_000", 1000),
        ("height", "-3", -3),
        ("height", "100000000000000001", 10**17 + 1),
        ("height", "none", None),
        ("rider", "none", None),
        ("rider", "4", "4"),
        ("rider", "a=b", "a=b"),
        ("color", "blue", "blue"),
        ("color", "0", 0),
        ("lit", "true", True),
        ("lit", "False", False),
        ("sizes", "1,2,3", (1, 2, 3)),
        ("sizes", "(4, 5)", (4, 5)),
        ("sizes", "(6,)", (6,)),
        ("sizes", "()", ()),
        ("mix", "1,0,0", (1.0, 0.0, 0.0)),
        ("names", "ann, 'bob'", ("ann", "bob")),
        ("frame.wheel.width", "2", 2.0),
        ("frame.wheel.width", "1e-3", 1e-3),
    ],
)
def test_text_becomes_a_value_of_the_declared_type(field, text, value):
    found = override(Bicycle(), [(field, text)])
    for name in field.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        ("height", "1.5", "an integer or none"),
        ("height", "tall", "an integer or none"),
        ("height", "1e400", "an integer or none"),
        ("height", "inf", "an integer or none"),
        ("height", "nan", "an integer or none"),
        ("height", "", "an integer or none"),
        ("frame.wheel.spokes", "none", "an integer"),
        ("frame.wheel.width", "nan", "a number"),
        ("frame.wheel.width", "wide", "a number"),
        ("color", "green", "one of red, blue, 0"),
        ("lit", "yes", "true or false"),
        ("sizes", "1,x", "values separated by commas, each an integer"),
        ("mix", "1,0", "3 values separated by commas, each a number"),
        ("owner", "{}", "set in the config file"),
    ],
)
def test_a_wrong_type_is_named_with_field_value_and_expectation(field, text, expected):
    message = refusal((field, text))
    assert f"--config.{field}={text}: must be " in message
    assert expected in message


def test_an_unknown_field_comes_with_the_nearest_one():
    assert "did you mean --config.frame.wheel.spokes?" in refusal(("frame.wheel.spoke", "3"))
    assert "it is one of frame, color" in refusal(("zzz", "3"))
    assert "unknown field" in refusal(("serial", "3"))
    assert "unknown field" in refusal(("", "3"))


def test_fields_belong_to_the_value_that_is_there():
    assert override(Bicycle(Track()), [("frame.gears", "3")]).frame == Track(3)
    assert "unknown field" in refusal(("frame.low", "3"), config=Bicycle(Track()))


def test_groups_and_fields_are_not_confused():
    assert "--config.frame=road: frame is a group" in refusal(("frame", "road"))
    assert "frame is a group" in refusal(("frame.low", "1"), ("frame", "road"))
    assert "height is 60 and has no fields" in refusal(("height.cm", "3"))


@pytest.mark.parametrize("order", [1, -1])
def test_fields_that_are_valid_together_may_be_set_in_any_order(order):
    assignments = [("frame.low", "8"), ("frame.high", "9"), ("frame.wheel.spokes", "3")][::order]
    assert override(Bicycle(), assignments).frame == Road(wheel=Wheel(3), low=8, high=9)
    assert "must be below" in refusal(("frame.low", "8"))


def test_the_later_of_two_assignments_wins():
    assert override(Bicycle(), [("height", "1"), ("lit", "true"), ("height", "2")]).height == 2


@settings(derandomize=True, deadline=None)
@given(st.integers(-(10**18), 10**18), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_what_python_prints_is_read_back(integer, number, flag):
    assert parse(str(integer), int) == integer
    assert parse(repr(number), float) == number
    assert parse(str(flag), bool) is flag
    assert parse(str((integer, -integer)), tuple[int, ...]) == (integer, -integer)


def test_a_field_may_stand_in_one_argument_or_in_two():
    arguments = ["--workdir=x", "--config=a.py", "--config.a", "-1", "-config.b=c=d", "--config.e=", "y"]
    assert split_arguments(arguments) == (
        [("config", "a.py"), ("config.a", "-1"), ("config.b", "c=d"), ("config.e", "")],
        ["--workdir=x", "y"],
    )
    assert split_arguments(["--", "--config.a=1"]) == ([], ["--", "--config.a=1"])
    for arguments in (["--config.a"], ["--config.a", "--config.b=1"]):
        with pytest.raises(InputError, match=r"--config\.a: has no value"):
            split_arguments(arguments)


CONFIG = """
from models.xlnet import XlnetConfig
from objectives import OBJECTIVES
from training.config import Experiment, OptimizerConfig


def get_config(steps="50"):
    objective = next(iter(OBJECTIVES.values()))
    return Experiment(XlnetConfig(), objective(), optimizer=OptimizerConfig(total_steps=int(steps), warmup_steps=5))
"""

COMMAND = """
from absl import flags, logging
from training.flags import run

WORKDIR = flags.DEFINE_string("workdir", "runs", "where the run lives")


def main(experiment):
    if WORKDIR.value == "defect":
        raise ValueError("ours")
    if WORKDIR.value == "refused":
        from batch import InputError
        raise InputError("--workdir=refused: belongs to another run; choose another.")
    logging.info("what a library says in passing")
    print(WORKDIR.value, experiment.optimizer.total_steps)


if __name__ == "__main__":
    run(main)
"""


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "tiny.py"
    path.write_text(CONFIG)
    return path


def test_the_last_of_two_configs_wins_and_its_argument_reaches_it(config):
    assert parse_experiment([f"--config={config}"]).optimizer.total_steps == 50
    arguments = ["--config=missing.py", f"--config={config}:60", "--config.seed=1", "--config.seed", "2"]
    experiment = parse_experiment(arguments)
    assert (experiment.optimizer.total_steps, experiment.seed) == (60, 2)


def test_overrides_meet_the_checks_of_the_experiment_together(config):
    arguments = [f"--config={config}", "--config.optimizer.warmup_steps=500", "--config.optimizer.total_steps=600"]
    assert parse_experiment(arguments).optimizer.warmup_steps == 500
    with pytest.raises(InputError, match=r"optimizer\.warmup_steps=500: exceeds"):
        parse_experiment(arguments[:2])


def test_what_is_no_experiment_is_refused():
    with pytest.raises(InputError, match="--config: missing"):
        parse_experiment(["--config.seed=3"])
    with pytest.raises(InputError, match="seed=3: unexpected argument"):
        parse_experiment(["--config=x.py", "seed=3"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1\n", "has no function get_config"),
        ("x = (\n", "line 1: SyntaxError"),
        ("\nimport no_such_module\n", "line 2: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def get_config():\n    return {}[0]\n", "line 2: KeyError: 0"),
        ("def get_config():\n    return 3\n", "get_config returned int; return an Experiment"),
        ("def get_config(size):\n    return 3\n", "get_config needs an argument"),
        ("from batch import InputError\nraise InputError('data.length=0: too short.')", "^data.length=0: too short.$"),
    ],
)
def test_a_config_file_that_fails_is_named_with_its_line(tmp_path, content, message):
    (tmp_path / "broken.py").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        load(str(tmp_path / "broken.py"))
    assert "\n" not in str(caught.value)


def test_a_config_file_that_is_not_there_comes_with_the_nearest_one(config):
    with pytest.raises(InputError, match=rf"no such file; did you mean {config}\?"):
        load(str(config.with_name("tinny.py")))
    with pytest.raises(InputError, match="no such file; give the path"):
        load("")
    with pytest.raises(InputError, match=r"must end in \.py"):
        load(str(config.rename(config.with_suffix(".txt"))))


def command(config: Path, *arguments: str) -> subprocess.CompletedProcess:
    script = config.with_name("command.py")
    script.write_text(COMMAND)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, env=environment)


def test_a_command_runs_with_its_flags_and_its_experiment(config):
    fields = config.with_name("fields")
    fields.write_text(f"--config={config}\n--config.optimizer.total_steps=1e3\n")
    done = command(config, f"--flagfile={fields}", "--workdir=here")
    assert (done.stdout, done.stderr, done.returncode) == ("here 1000\n", "", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workdir=refused"], "error: --workdir=refused: belongs to another run; choose another.\n"),
        (["--config.sed=3"], "error: --config.sed: unknown field; did you mean --config.seed?\n"),
        (["--wokdir=3"], "error: Unknown command line flag 'wokdir'. Did you mean: workdir ?\n"),
        (["stray"], "error: stray: unexpected argument; flags begin with two dashes.\n"),
    ],
)
def test_a_command_refuses_in_one_sentence(config, arguments, message):
    done = command(config, f"--config={config}", *arguments)
    assert (done.stdout, done.stderr, done.returncode) == ("", message, 1)


def test_a_defect_keeps_its_traceback(config):
    done = command(config, f"--config={config}", "--workdir=defect")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ValueError: ours" in done.stderr


def test_help_lists_the_flags_of_the_command_and_of_the_experiment(config):
    for flag in ("--help", "--helpfull"):
        done = command(config, flag)
        assert "--config:" in done.stdout and "--workdir:" in done.stdout
        assert "Traceback" not in done.stderr


def test_what_was_handed_in_is_printed_on_one_line(tmp_path):
    done = commands.run("train.py", f"--config={tmp_path}/a\nb\x1b[2J.py", f"--workdir={tmp_path}/run")
    assert done.code == 1 and done.err.count("\n") == 1 and "\x1b" not in done.err
    assert "a\\nb\\x1b[2J.py" in done.err
