"""Who imports whom: the arrows of the architecture, held by reading the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What each layer may import of ours, beside itself. Every other module at the top level is an entry point.
ALLOWED = {
    "batch": set(),
    "objectives": {"batch"},
    "models": {"batch"},
    "data": {"batch"},
    "training": {"batch", "objectives", "models", "data"},
    "finetuning": {"batch", "objectives", "models", "data", "training"},
    "ablation": {"batch", "objectives", "models", "data", "training", "evaluation", "finetuning"},
    "report": {"batch", "evaluation", "ablation"},
    "configs": {"batch", "objectives", "models", "data", "training", "evaluation", "finetuning", "ablation"},
    "interop": {"batch", "objectives", "models", "data", "training"},
    "evaluation": {"batch", "objectives", "models", "data", "training"},
    "benchmarks": {
        *("batch", "objectives", "models", "data", "training", "configs", "interop", "evaluation", "ablation"),
        *("finetuning", "report"),
    },
    "entry point": {
        *("batch", "objectives", "models", "data", "training", "configs", "interop", "evaluation"),
        *("ablation", "report", "finetuning"),
    },
}
FORBIDDEN_ELSEWHERE = {"data": {"jax", "jaxlib", "flax", "optax", "orbax"}}  # host code, NumPy only
NAMES_THAT_PERMIT_ANYTHING = {"util", "utils", "common", "helper", "helpers", "misc"}
OUTSIDE = {"build", "runs", "tests"}  # folders that hold no layer


def modules(*, tests: bool) -> list[Path]:
    """The Python files of the checkout, relative to its root."""
    found = (path.relative_to(ROOT) for path in [*ROOT.glob("*.py"), *ROOT.glob("[!.]*/**/*.py")])
    return sorted(path for path in found if path.parts[0] not in OUTSIDE or (tests and path.parts[0] == "tests"))


def layer(path: Path) -> str:
    """The folder of a module, or what a module at the top level is."""
    if len(path.parts) > 1:
        return path.parts[0]
    return path.stem if path.stem in ALLOWED else "entry point"


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and top-level name of every absolute import, wherever in the module it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, str(node.module).split(".")[0]


def violations(path: Path, source: str, entry_points: set[str]) -> list[str]:
    """Sentences that name the file, the line and the rule for each import that the architecture forbids."""
    own = layer(path)
    if own not in ALLOWED:
        return [f"{path}: {own}/ has no rule; add what it may import to ALLOWED."]
    found = []
    for line, name in imports(source):
        if name in entry_points:
            found.append(f"{path}:{line}: imports {name}; nobody imports an entry point.")
        elif name in ALLOWED and name != own and name not in ALLOWED[own]:
            may = ", ".join(sorted(ALLOWED[own])) or "nothing of ours"
            found.append(f"{path}:{line}: imports {name}; of ours, {own} may import {may}.")
        elif name in FORBIDDEN_ELSEWHERE.get(own, ()):
            found.append(f"{path}:{line}: imports {name}; {own} is host code, and knows NumPy only.")
    return found


def test_every_import_follows_the_architecture():
    paths = modules(tests=False)
    entry_points = {path.stem for path in paths if layer(path) == "entry point"}
    found = [line for path in paths for line in violations(path, (ROOT / path).read_text(), entry_points)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("batch.py", "from data.config import DataConfig", "nothing of ours"),
        ("objectives/causal.py", "import numpy\nimport models.trunk as trunk", "causal.py:2: imports models"),
        ("models/gpt.py", "def f():\n    from objectives import OBJECTIVES", "gpt.py:2: imports objectives"),
        ("data/batches.py", "import jax.numpy as jnp", "NumPy only"),
        ("training/loop.py", "from train import main", "entry point"),
        ("training/loop.py", "import configs.tiny", "imports configs"),
        ("demo.py", "import train", "entry point"),
        ("plots/curve.py", "", "no rule"),
    ],
)
def test_a_forbidden_import_is_named(path, source, complaint):
    assert any(complaint in line for line in violations(Path(path), source, {"train", "demo"}))


def test_no_module_has_a_name_that_permits_anything():
    stems = {path: path.stem.lower() for path in modules(tests=True)}
    found = [p for p, stem in stems.items() if stem in NAMES_THAT_PERMIT_ANYTHING or stem.endswith(("_lib", "_utils"))]
    assert not found


def test_every_module_opens_with_a_docstring():
    assert not [p for p in modules(tests=True) if not ast.get_docstring(ast.parse((ROOT / p).read_text()))]
