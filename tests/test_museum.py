"""Every bug of the museum is found by the test that it names, by an assertion rather than a crash."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import museum
import mutants

TESTS = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def injections():
    """Runs exhibits, each in a process of its own, as functions are jitted and cached.

    What this worker has compiled is there for them too: it waits while they run.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    clean |= {name: os.environ[name] for name in ("PYTEST_XDIST_WORKER",) if name in os.environ}
    command = [sys.executable, TESTS / "injection.py"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=TESTS.parent, env=clean, text=True, **pipes) as process:
        yield process


@pytest.mark.parametrize("exhibit", museum.EXHIBITS, ids=lambda exhibit: exhibit.name)
def test_a_bug_is_found(injections, exhibit):
    injections.stdin.write(f"{exhibit.name}\n")
    injections.stdin.flush()
    status, said = json.loads(injections.stdout.readline())
    assert status == 0, said


def test_every_mutant_is_exhibited_once_and_every_exhibit_has_its_mutant():
    functions = {name for name, value in vars(mutants).items() if inspect.isfunction(value)}
    names = [exhibit.name for exhibit in museum.EXHIBITS]
    assert sorted(names) == sorted(functions) and len(names) > 14


def test_the_documentation_shows_the_table():
    text = (TESTS.parent / "docs" / "museum.md").read_text()
    assert text.endswith(f"\n{museum.table()}\n"), "print it with python -m tests.museum"
