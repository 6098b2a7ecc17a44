"""The embedded corpus: English prose from the docstrings of installed Python code, read with `ast`, never imported.

One module is one document; a help topic of `pydoc_data.topics` is one too. Only prose is kept (see `data.prose`), and a
paragraph that was seen before is not repeated. The order is that of the sorted paths, so that the same versions of the
packages give the same text.
"""

import ast
import contextlib
import gc
import hashlib
import importlib.metadata
import inspect
import os
import platform
import re
import sysconfig
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from data.prose import prose

VERSION = 1
"""Of the rules below; another number is another corpus."""

PACKAGES = (
    "jax",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "scipy",
    "absl-py",
    "sentencepiece",
    "jaxtyping",
    "tensorboardX",
    "etils",
    "tensorstore",
    "treescope",
    "opt-einsum",
    "rich",
    "fsspec",
    "protobuf",
    "humanize",
    "simplejson",
)
"""Distributions read after the standard library, in this order, where installed."""

_SKIPPED = {"test", "tests", "testing", "_test", "idle_test", "site-packages", "dist-packages", "_vendor"}
_TEST_FILE = re.compile(r"^(test_.*|.*_tests?|conftest)\.py$")


def versions() -> dict[str, str]:
    """The Python and the packages that the corpus is made of, with their versions, in reading order."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def docstrings_file(cache: Path) -> Path:
    """Returns the corpus as one text file under `cache`, writing it where it is not there yet; takes seconds."""
    key = hashlib.sha256(repr((VERSION, versions())).encode()).hexdigest()[:16]
    path = cache / f"docstrings-{key}.txt"
    if path.exists():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=cache, prefix=".docstrings-")
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file, _no_garbage_collection():
        for lines in _documents():
            file.write("\n".join(lines) + "\n\n")
    os.replace(temporary, path)
    return path


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Syntax trees have no cycles, and walking them again and again would double the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _documents() -> Iterator[list[str]]:
    seen: set[bytes] = set()
    for path in _modules():
        lines = [line for text in _texts(path) for line in prose(text) if _is_new(line, seen)]
        if lines:
            yield lines
    for text in _topics():
        lines = [line for line in prose(text) if _is_new(line, seen)]
        if lines:
            yield lines


def _is_new(line: str, seen: set[bytes]) -> bool:
    key = hashlib.blake2b(re.sub(r"\W+", " ", line).lower().encode(), digest_size=8).digest()
    if key in seen:
        return False
    seen.add(key)
    return True


def _modules() -> Iterator[Path]:
    yield from _python_files(Path(sysconfig.get_path("stdlib")))
    for name in PACKAGES:
        try:
            files = importlib.metadata.files(name) or ()
        except importlib.metadata.PackageNotFoundError:
            continue
        paths = {Path(str(file.locate())) for file in files if file.suffix == ".py" and _is_wanted(file.parts)}
        yield from sorted(path for path in paths if path.is_file())


def _python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if _is_wanted(path.relative_to(folder).parts))


def _is_wanted(parts: tuple[str, ...]) -> bool:
    *folders, name = parts
    return not _SKIPPED.intersection(folders) and not _TEST_FILE.match(name) and "pydoc_data" not in folders


def _parse(path: Path) -> ast.Module | None:
    source = path.read_bytes()
    if not any(quotes in source for quotes in (b'"""', b"'''")):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


def _texts(path: Path) -> Iterator[str]:
    """The docstrings of a module in the order of the source, and what `add_newdoc` attaches to compiled functions."""
    tree = _parse(path)
    return iter(()) if tree is None else _docstrings(tree)


def _docstrings(node: ast.AST) -> Iterator[str]:
    body: list[ast.stmt] = getattr(node, "body", [])
    for statement in body:
        value = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield inspect.cleandoc(value.value)  # a docstring, or one below an attribute
        elif isinstance(value, ast.Call) and getattr(value.func, "id", "") in {"add_newdoc", "_add_newdoc"}:
            strings = (leaf.value for leaf in ast.walk(value) if isinstance(leaf, ast.Constant))
            yield from (inspect.cleandoc(string) for string in strings if isinstance(string, str) and "\n" in string)
        elif isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.If | ast.Try):
            yield from _docstrings(statement)


def _topics() -> Iterator[str]:
    """The texts of Python's `help()`: a dictionary literal, read as one."""
    path = Path(sysconfig.get_path("stdlib"), "pydoc_data", "topics.py")
    tree = _parse(path) if path.is_file() else None
    for node in tree.body if tree else ():
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            topics = ast.literal_eval(node.value)
            yield from (topics[name] for name in sorted(topics))
