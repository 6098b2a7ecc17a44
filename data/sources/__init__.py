"""Known sources as corpora: text drawn from a distribution whose every posterior can be computed.

A source is named by what it is drawn from, "markov:order=1,symbols=16", every field optional; its parameters and its
text are functions of that name alone. A document is one line of as many letters as the source's `length`, and the
letters are single bytes, so that with `data.tokenizer=bytes` a token is a symbol.
"""

import dataclasses
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, Int

from batch import InputError
from data.sources.coupled import Coupled
from data.sources.echo import Echo
from data.sources.facts import Facts
from data.sources.hmm import Hmm
from data.sources.lexicon import Lexicon
from data.sources.markov import Markov
from data.sources.pcfg import Pcfg

VERSION = 1
"""Of how text is drawn; another number is another text."""

DOCUMENTS = 4000
MOST_REPEATED = 0.02
"""Share of the documents that may be copies: a split keeps copies together, so that many of them would bend it."""

KINDS: dict[str, type] = {"markov": Markov, "hmm": Hmm, "pcfg": Pcfg}
KINDS |= {"coupled": Coupled, "echo": Echo, "facts": Facts, "lexicon": Lexicon}


@runtime_checkable
class Source(Protocol):
    """A distribution over strings of `length` symbols 0, 1, ..., each written as its letter of the alphabet."""

    @property
    def alphabet(self) -> str: ...

    @property
    def length(self) -> int: ...

    def sample(self, count: int, seed: int) -> Int[np.ndarray, "count n"]:
        """Independent strings; the same for the same seed."""
        ...

    def posteriors(
        self, symbols: Int[np.ndarray, "Q n"], shown: Bool[np.ndarray, "Q n"], place: Int[np.ndarray, " Q"]
    ) -> Float64[np.ndarray, "Q V"]:
        """p(symbol at `place` | the symbols that are shown elsewhere); whether `place` is shown does not matter."""
        ...

    def log_p(self, symbols: Int[np.ndarray, "Q n"], shown: Bool[np.ndarray, "Q n"]) -> Float64[np.ndarray, " Q"]:
        """Log-probability of the symbols that are shown, whatever the others are."""
        ...


def is_source(corpus: str) -> bool:
    """Whether a corpus is named as a source, and not as a file."""
    kind, colon, _ = corpus.partition(":")
    return bool(colon) and kind in KINDS


def open_source(corpus: str) -> Source:
    """The source that `corpus` names. Raises InputError where it names none, or one that cannot be."""
    return _parsed(corpus)[0]


def source_file(corpus: str, cache: Path) -> Path:
    """Returns the text of a source as a file under `cache`, drawing it where it is not there yet.

    NumPy's version is part of the file's name: another one may draw other numbers.
    """
    source, documents = _parsed(corpus)
    kind, key = corpus.partition(":")[0], repr((VERSION, np.__version__, source, documents))
    path = cache / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.txt"
    if path.exists():
        return path
    lines = written(source, source.sample(documents, seed=0))
    repeated = 1 - len(set(lines)) / len(lines)
    if repeated > MOST_REPEATED:
        raise InputError(
            f"data.corpus={corpus}: {repeated:.0%} of its documents are copies of others, so that those held out would "
            "not be drawn from the source; set a larger length, or fewer documents."
        )
    cache.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=cache, prefix=f".{kind}-")
    with os.fdopen(descriptor, "w", encoding="ascii", newline="\n") as file:
        file.writelines(f"{line}\n\n" for line in lines)
    os.replace(temporary, path)
    return path


def written(source: Source, symbols: Int[np.ndarray, "count n"]) -> list[str]:
    """The strings as lines of text."""
    letters = np.frombuffer(source.alphabet.encode(), np.uint8)
    return [row.tobytes().decode("ascii") for row in letters[symbols]]


def _parsed(corpus: str) -> tuple[Any, int]:
    """The source and how many documents of it are the corpus."""
    kind, _, fields = corpus.partition(":")
    if not is_source(corpus):
        raise InputError(f"data.corpus={corpus}: is no known source; name one of {', '.join(f'{k}:' for k in KINDS)}.")
    types = {field.name: type(field.default) for field in dataclasses.fields(KINDS[kind])} | {"documents": int}
    given: dict[str, Any] = {}
    for part in filter(None, fields.split(",")):
        name, equals, value = part.partition("=")
        if name not in types or not equals:
            raise InputError(f"data.corpus={corpus}: {part} is no field of {kind}; give {_forms(types)}.")
        if name in given:
            raise InputError(f"data.corpus={corpus}: {name} is given twice; give it once.")
        try:
            given[name] = types[name](value)
        except ValueError:
            number = "a whole number" if types[name] is int else "a number"
            raise InputError(f"data.corpus={corpus}: {name}={value} must be {number}; correct it.") from None
    documents = given.pop("documents", DOCUMENTS)
    try:
        if not 3 <= documents <= 10_000_000:
            raise InputError(f"documents={documents}: must be from 3 to 10,000,000.")
        return KINDS[kind](**given), documents
    except InputError as error:
        raise InputError(f"data.corpus={corpus}: {error}") from None


def _forms(types: dict[str, type]) -> str:
    return ", ".join(f"{name}=NUMBER" for name in types)
