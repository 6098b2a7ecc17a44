"""How arms differ: named changes of one experiment, and an algebra of sweeps."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from batch import InputError
from training.config import Experiment
from training.overrides import override

Change = Mapping[str, Any]
"""Dotted fields of an experiment and their values: {"objective": MaskedLm(rate=0.3), "optimizer.peak_rate": 1e-3}."""

Arms = Mapping[str, Change]
"""Changes by the name of the arm that they make; an empty one is the base itself."""


def changed(base: Experiment, change: Change) -> Experiment:
    """The experiment with these fields replaced: whole groups first, then fields of theirs.

    Raises InputError on a field that does not exist and on a value of another type.
    """
    groups = {field: value for field, value in change.items() if dataclasses.is_dataclass(value)}
    names = [field.name for field in dataclasses.fields(base)]
    for field, value in groups.items():
        if field not in names:
            raise InputError(
                f"{field}: is no group of an experiment; {type(value).__name__} can be {_home(names, base)}."
            )
        own = getattr(base, field)
        if field in ("data", "optimizer", "training") and type(value) is not type(own):
            raise InputError(f"{field}={type(value).__name__}: must be {type(own).__name__}.")
    fields = [(field, str(value)) for field, value in change.items() if field not in groups]
    try:
        return override(dataclasses.replace(base, **groups), fields)
    except InputError as error:  # the same rules as on the command line, whose prefix a file does not have
        raise InputError(str(error).replace("--config.", "")) from None


def sweep(field: str, values: Sequence[Any], name: str = "{}") -> Arms:
    """One arm for each value of a field; `name` says how it is called: "rate {}"."""
    return _named([(name.format(value), {field: value}) for value in values])


def product(*factors: Arms) -> Arms:
    """Every arm of one with every arm of the others: names joined, changes together."""
    return _named([_together(parts) for parts in itertools.product(*(factor.items() for factor in factors))])


def zipped(*factors: Arms) -> Arms:
    """The first arm of each together, then the second of each. Raises InputError where one has fewer than another."""
    sizes = [len(factor) for factor in factors]
    if len(set(sizes)) > 1:
        raise InputError(
            f"arms: sweeps of {', '.join(map(str, sizes))} arms cannot be zipped; give them the same number."
        )
    return _named([_together(parts) for parts in zip(*(factor.items() for factor in factors), strict=True)])


def chain(*families: Arms) -> Arms:
    """The arms of one after those of the other. Raises InputError where two have one name."""
    return _named([item for family in families for item in family.items()])


def _together(parts: Sequence[tuple[str, Change]]) -> tuple[str, Change]:
    merged: dict[str, Any] = {}
    for name, change in parts:
        for field, value in change.items():
            if field in merged:
                raise InputError(f"arms: {name} changes {field}, which another factor changes too; change it in one.")
            merged[field] = value
    return ", ".join(name for name, _ in parts if name), merged


def _named(arms: Sequence[tuple[str, Change]]) -> Arms:
    named: dict[str, Change] = {}
    for name, change in arms:
        if name in named:
            raise InputError(f"arms: two are called {name}; give each a name of its own.")
        named[name] = change
    return named


def _home(names: Sequence[str], base: Experiment) -> str:
    return " or ".join(name for name in names if dataclasses.is_dataclass(getattr(base, name)))
