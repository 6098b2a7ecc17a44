"""Runs the test that must find a bug of the museum, with the bug in place: `python tests/injection.py NAME`.

It exits with 0 if the test fails by an assertion; if it passes or crashes, it says so.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mutants
from museum import EXHIBITS, Exhibit

ROOT = Path(__file__).resolve().parents[1]


def replace(path: str, mutate: Callable[[Any], Any]) -> None:
    """Replaces a function, or what else stands at `path`, in its module or class and wherever it was imported."""
    home, _, name = path.rpartition(".")
    try:
        owner: Any = importlib.import_module(home)
    except ModuleNotFoundError:
        module, _, cls = home.rpartition(".")
        owner = getattr(importlib.import_module(module), cls)
    right = getattr(owner, name)
    wrong = mutate(right)
    setattr(owner, name, wrong)
    for module in list(sys.modules.values()):
        if str(getattr(module, "__file__", None)).startswith(str(ROOT)):
            for alias in [alias for alias, value in vars(module).items() if value is right]:
                setattr(module, alias, wrong)


class Injection:
    """A plugin of pytest: the bug is there before the first test module is imported."""

    def __init__(self, exhibit: Exhibit):
        self.exhibit = exhibit
        self.verdicts: list[str] = []

    def pytest_sessionstart(self) -> None:
        import hypothesis  # not before pytest, which rewrites it

        seek = [hypothesis.Phase.explicit, hypothesis.Phase.generate]  # any counterexample will do
        hypothesis.settings.register_profile("injection", hypothesis.settings(), phases=seek)
        hypothesis.settings.load_profile("injection")
        replace(self.exhibit.ours, getattr(mutants, self.exhibit.name))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call):
        if call.excinfo is not None:
            by_assertion = isinstance(call.excinfo.value, AssertionError | pytest.fail.Exception)
            self.verdicts.append("killed" if by_assertion else f"crashed: {call.excinfo.exconly()}")
        elif call.when == "call":
            self.verdicts.append("survived")
        return (yield)


def main(name: str) -> str:
    """What becomes of the exhibit: "killed", "survived", or how it crashed."""
    injection = Injection(next(exhibit for exhibit in EXHIBITS if exhibit.name == name))
    arguments = [
        f"{ROOT}/tests/{injection.exhibit.killer}",
        f"--rootdir={ROOT}",
        "-q",
        "--tb=short",
        "-p",
        "no:cacheprovider",
    ]
    pytest.main(arguments, plugins=[injection])
    return "; ".join(injection.verdicts) or "ran no test"


if __name__ == "__main__":
    verdict = main(sys.argv[1])
    print(verdict)
    sys.exit(verdict != "killed")
