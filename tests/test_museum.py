"""Every bug of the museum is found by the test that it names, by an assertion rather than a crash."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import museum
import mutants

TESTS = Path(__file__).resolve().parent


@pytest.mark.parametrize("exhibit", museum.EXHIBITS, ids=lambda exhibit: exhibit.name)
def test_a_bug_is_found(exhibit):
    """In a process of its own, as functions are jitted and cached."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(
        [sys.executable, TESTS / "injection.py", exhibit.name],
        cwd=TESTS.parent,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_every_mutant_is_exhibited_once_and_every_exhibit_has_its_mutant():
    functions = {name for name, value in vars(mutants).items() if inspect.isfunction(value)}
    names = [exhibit.name for exhibit in museum.EXHIBITS]
    assert sorted(names) == sorted(functions) and len(names) > 14


def test_the_documentation_shows_the_table():
    text = (TESTS.parent / "docs" / "museum.md").read_text()
    assert text.endswith(f"\n{museum.table()}\n"), "print it with python -m tests.museum"
