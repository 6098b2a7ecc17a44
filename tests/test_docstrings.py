"""The embedded corpus: prose stays, everything else goes."""

import re

import pytest

from data import docstrings
from data.docstrings import docstrings_file
from data.prose import prose

NUMPYDOC = """Return the mean of the values.

Longer words are hard-wrapped over
two lines, with ``code`` and :func:`mean <numpy.mean>`.

Parameters
----------
values : array_like
    The values whose mean is wanted, in any order that you like.
axis : int, optional
    Short.

Returns
-------
float

Notes
-----
The variance is not returned here::

    code that is indented

That needs another function [1]_.

Examples
--------
>>> mean([1, 2])
1.5

Even prose is not wanted here.
"""

GOOGLE = """Checks that the trees agree.

Args:
  tree: the first of the two trees, which may have any structure.
    It continues here.
  other (int): short one.

Some more prose follows the arguments.

Example usage:

  This is the example that should not be kept.

- one item of a list that is long enough.
- another item of the list, wrapped
  over two lines.

| a | table | of | words. |
"""


def test_numpy_docstrings_become_paragraphs():
    assert prose(NUMPYDOC) == [
        "Return the mean of the values.",
        "Longer words are hard-wrapped over two lines, with code and mean.",
        "The values whose mean is wanted, in any order that you like.",
        "The variance is not returned here:",
        "That needs another function.",
    ]


def test_google_docstrings_become_paragraphs():
    assert prose(GOOGLE) == [
        "Checks that the trees agree.",
        "the first of the two trees, which may have any structure. It continues here.",
        "Some more prose follows the arguments.",
        "one item of a list that is long enough.",
        "another item of the list, wrapped over two lines.",
    ]


@pytest.mark.parametrize("text", ["", "x", "a = b + c  # so it is", "foo(bar) -> baz", "+---+\n| a |\n+---+"])
def test_what_is_not_prose_is_dropped(text):
    assert prose(text) == []


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A library of two modules in place of the installed ones."""
    library = tmp_path / "library"
    (library / "tests").mkdir(parents=True)
    (library / "b.py").write_text('"""This module is the second one.\n\nThis line is in both of them."""\n')
    (library / "a.py").write_text(
        '"""This module is the first one.\n\nThis line is in both of them."""\n\n\n'
        'class A:\n    """The class has a docstring."""\n\n'
        '    def f(self):\n        """The method has a docstring."""\n        raise SystemExit\n\n\nraise SystemExit\n'
    )
    (library / "tests" / "c.py").write_text('"""This module is only a test."""\n')
    (library / "broken.py").write_text('"""This module does not parse."""\nx = = 1\n')
    monkeypatch.setattr(docstrings, "PACKAGES", ())
    monkeypatch.setattr(docstrings.sysconfig, "get_path", lambda name: str(library))
    return tmp_path


def test_a_module_is_a_document_and_no_paragraph_comes_twice(packages):
    assert docstrings_file(packages / "cache").read_text().split("\n\n") == [
        "This module is the first one.\nThis line is in both of them.\n"
        "The class has a docstring.\nThe method has a docstring.",
        "This module is the second one.",
        "",
    ]


def test_the_corpus_is_built_once(packages):
    path = docstrings_file(packages / "cache")
    path.write_text("kept")
    assert docstrings_file(packages / "cache").read_text() == "kept"


def test_other_versions_are_another_corpus(packages, monkeypatch):
    path = docstrings_file(packages / "cache")
    monkeypatch.setattr(docstrings, "versions", lambda: {"python": "4"})
    assert docstrings_file(packages / "cache") != path


def test_the_standard_library_reads_as_english(tmp_path, monkeypatch):
    monkeypatch.setattr(docstrings, "PACKAGES", ())
    text = docstrings_file(tmp_path).read_text(encoding="utf-8")
    words = re.findall(r"[a-z]+", text.lower())
    assert len(text) > 500_000
    assert 0.03 < words.count("the") / len(words) < 0.12
    assert ">>>" not in text and "====" not in text
