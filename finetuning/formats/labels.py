"""Labels: which there are, and which a file may hold."""

import dataclasses
import math
from collections.abc import Iterable

from batch import InputError


@dataclasses.dataclass(frozen=True)
class Range:
    """Labels that are numbers, ends included: what a regression predicts."""

    least: float = -math.inf
    most: float = math.inf


Known = tuple[str, ...] | Range | None
"""Which labels a file may hold: these classes, numbers, or whatever stands there."""


def checked(label: str, known: Known, where: str) -> str:
    """The label, where it is one of the known. Raises InputError, naming where it stands, otherwise."""
    if isinstance(known, Range):
        number(label, known, where)
    elif known is not None and label not in known:
        raise InputError(f"{where}: label {label!r} is not one of {', '.join(map(repr, known))}; correct it.")
    elif not label:
        raise InputError(f"{where} has an empty label; write it, or remove the line.")
    return label


def number(label: str, known: Range, where: str) -> float:
    """The number that a label is. Raises InputError where it is none, is not finite or is out of the range."""
    try:
        value = float(label)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: label {label!r} is not a finite number; correct it, or name the classes.")
    if not known.least <= value <= known.most:
        raise InputError(f"{where}: label {label} is not from {known.least:g} to {known.most:g}; correct it.")
    return value


def label_set(labels: Iterable[str], named: str) -> tuple[str, ...]:
    """The classes among the labels, sorted: of a training set the `known` ones with which its dev set is then read.

    Raises InputError where there are fewer than two, of which nothing is learned and nothing measured; `named` says
    which set it is.
    """
    distinct = sorted(set(labels))
    if len(distinct) < 2:
        found = f"every label is {distinct[0]!r}" if distinct else "no example has a label"
        raise InputError(f"{named}: {found}; give a set with at least two classes.")
    return tuple(distinct)
