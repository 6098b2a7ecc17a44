"""Typed assignments such as `optimizer.total_steps=1e5`, applied to nested frozen dataclasses."""

import dataclasses
import decimal
import difflib
import math
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal

from batch import InputError


def override(config: Any, assignments: Sequence[tuple[str, str]], prefix: str = "") -> Any:
    """`config` with every `(dotted field, text)` assigned; of two assignments to one field the later wins.

    The fields of one group are replaced together, inner groups first, so that `__post_init__` sees only the final
    values: two fields that are valid together may be invalid one after the other. Fields are looked up in the type of
    the value that is there, not in the declared one (`model` may be any of several classes). Groups in a tuple are
    named by their numbers: `parts.0`. `prefix` is where `config` stands in the whole, for messages.
    Raises InputError on an unknown field, a value of the wrong type, and a group assigned as a whole.
    """
    hints = typing.get_type_hints(type(config))
    fields = [field.name for field in dataclasses.fields(config) if field.init]
    changes = {}
    for name, inner in _by_field(assignments, fields, prefix).items():
        value = getattr(config, name)
        _check_depth(prefix + name, value, inner)
        if dataclasses.is_dataclass(value):
            changes[name] = override(value, inner, f"{prefix}{name}.")
        elif _are_groups(value):
            changes[name] = _override_members(value, inner, f"{prefix}{name}.")
        else:
            changes[name] = _assign(prefix + name, inner[-1][1], hints[name])
    return dataclasses.replace(config, **changes)


def _override_members(groups: tuple[Any, ...], assignments: Sequence[tuple[str, str]], prefix: str) -> tuple[Any, ...]:
    """The same of each of the groups in a tuple."""
    changed = list(groups)
    for name, inner in _by_field(assignments, [str(i) for i in range(len(groups))], prefix).items():
        _check_depth(prefix + name, groups[int(name)], inner)
        changed[int(name)] = override(groups[int(name)], inner, f"{prefix}{name}.")
    return tuple(changed)


def _by_field(
    assignments: Sequence[tuple[str, str]], fields: list[str], prefix: str
) -> dict[str, list[tuple[str, str]]]:
    """What is assigned to each field, or inside it."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path, text in assignments:
        name, _, rest = path.partition(".")
        found.setdefault(name, []).append((rest, text))
    for name in found:
        if name not in fields:
            raise InputError(_unknown(name, fields, prefix))
    return found


def _are_groups(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(map(dataclasses.is_dataclass, value))


def parse(text: str, hint: Any) -> Any:
    """The value of type `hint` that `text` writes. Raises ValueError, whose message says what was expected.

    Integers may be written `1e5`; a bool is `true` or `false`; a tuple is `1,2` or `(1, 2)`; None is `none`.
    """
    members = _members(hint)
    for member in members:
        try:
            return _parse(text, member)
        except (ValueError, LookupError, decimal.InvalidOperation):
            continue
    raise ValueError(" or ".join(_expected(member) for member in members))


def fits(value: Any, hint: Any) -> bool:
    """Whether a value that a file told is of the type `hint`: an integer is a number, too, and true is neither."""
    origin, members = typing.get_origin(hint) or hint, typing.get_args(hint)
    if isinstance(hint, typing.TypeVar):
        members = hint.__constraints__
    if isinstance(hint, typing.TypeVar) or origin in (typing.Union, types.UnionType):
        return any(fits(value, member) for member in members)
    if origin is Literal:
        return isinstance(value, str) and value in members
    if origin is tuple:
        hints = members[:1] * len(value) if isinstance(value, tuple) and Ellipsis in members else members
        return isinstance(value, tuple) and len(value) == len(hints) and all(map(fits, value, hints))
    if origin in (int, float):
        return isinstance(value, int | origin) and not isinstance(value, bool)
    return isinstance(value, origin)


def _check_depth(path: str, value: Any, inner: list[tuple[str, str]]) -> None:
    is_group = dataclasses.is_dataclass(value) or _are_groups(value)
    for rest, text in inner:
        if is_group and not rest:
            raise InputError(f"--config.{path}={text}: {path} is a group; set its fields one by one.")
        if rest and not is_group:
            raise InputError(f"--config.{path}.{rest}={text}: {path} is {value!r} and has no fields.")


def _unknown(name: str, fields: list[str], prefix: str) -> str:
    near = difflib.get_close_matches(name, fields, 1)
    if near:
        return f"--config.{prefix}{name}: unknown field; did you mean --config.{prefix}{near[0]}?"
    return f"--config.{prefix}{name}: unknown field; it is one of {', '.join(fields) or 'none'}."


def _assign(path: str, text: str, hint: Any) -> Any:
    try:
        return parse(text, hint)
    except ValueError as error:
        raise InputError(f"--config.{path}={text}: must be {error}.") from None


def _members(hint: Any) -> list[Any]:
    """The members of a union, `str` last because every text is one; of any other type, that type alone."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return [hint]
    return sorted(typing.get_args(hint), key=lambda member: member is str)


def _parse(text: str, hint: Any) -> Any:
    origin = typing.get_origin(hint) or hint
    if origin is tuple:
        return _tuple(text, typing.get_args(hint))
    if origin is Literal:
        return {str(value): value for value in typing.get_args(hint)}[text]
    if origin in _PARSERS:
        return _PARSERS[origin](text)
    raise ValueError


def _expected(hint: Any) -> str:
    origin = typing.get_origin(hint) or hint
    if origin is tuple:
        members = [member for member in typing.get_args(hint) if member is not Ellipsis]
        count = "" if Ellipsis in typing.get_args(hint) else f"{len(members)} "
        return f"{count}values separated by commas, each {' or '.join(dict.fromkeys(map(_expected, members)))}"
    if origin is Literal:
        return f"one of {', '.join(map(str, typing.get_args(hint)))}"
    return _NAMES.get(origin, "set in the config file, not on the command line")


def _integer(text: str) -> int:
    value = decimal.Decimal(text)  # not float, which has no exact 10**17 + 1
    if value % 1:  # of an infinity, and of more than 28 digits, an InvalidOperation
        raise ValueError
    return int(value)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _tuple(text: str, hints: tuple[Any, ...]) -> tuple[Any, ...]:
    inside = text.strip().removeprefix("(").removesuffix(")").strip().removesuffix(",")
    parts = [part.strip().strip("'\"") for part in inside.split(",")] if inside else []
    members = hints[:1] * len(parts) if Ellipsis in hints else hints
    return tuple(parse(part, member) for part, member in zip(parts, members, strict=True))


_PARSERS = {
    int: _integer,
    float: _finite,
    bool: lambda text: {"true": True, "1": True, "false": False, "0": False}[text.lower()],
    str: str,
    type(None): lambda text: {"none": None, "null": None}[text.lower()],
}
_NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "text", type(None): "none"}
