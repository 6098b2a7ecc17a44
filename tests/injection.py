"""Runs the test that must find a bug of the museum, with the bug in place: `python tests/injection.py NAME`.

It exits with 0 if the test fails by an assertion; if it passes or crashes, it says so. Without a NAME it reads names, a
line each, and leaves each to a child of its own, which finds imported what takes longest to import. It answers with a
line of JSON for each: the exit status of the child, and what it said.
"""

import importlib
import json
import os
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from jaxtyping import install_import_hook

import mutants
from museum import EXHIBITS, Exhibit

ROOT = Path(__file__).resolve().parents[1]
CHECKED = "--jaxtyping-packages="


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
        CHECKED,  # they are, by `imported`
        "-Wignore::pytest.PytestAssertRewriteWarning",  # of jaxtyping, which holds no assertion of ours
    ]
    pytest.main(arguments, plugins=[injection])
    return "; ".join(injection.verdicts) or "ran no test"


def imported() -> None:
    """Imports what the tests are about, its signatures checked as pytest would have them; nothing of it runs."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["addopts"]
    (packages,) = (option.removeprefix(CHECKED) for option in options if option.startswith(CHECKED))
    *packages, checker = packages.split(",")
    install_import_hook(packages, checker)
    sys.path.insert(0, str(ROOT))
    for module in ("training.build", "cases"):
        importlib.import_module(module)


def asked(names: Iterable[str]) -> str:
    """Answers for every name; in the child whose name it is, returns it."""
    for name in map(str.strip, names):
        with tempfile.TemporaryFile("w+") as said:
            child = os.fork()  # as long as JAX is imported and no more, it has no threads to lose
            if not child:
                for stream in (sys.stdout, sys.stderr):
                    os.dup2(said.fileno(), stream.fileno())
                return name
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            said.seek(0)
            print(json.dumps([status, said.read()]), flush=True)
    sys.exit()


if __name__ == "__main__":
    imported()
    verdict = main(sys.argv[1] if len(sys.argv) > 1 else asked(sys.stdin))
    print(verdict)
    sys.exit(verdict != "killed")
