"""Numbers as the report writes them: as many digits as they are worth, and "-" where there is none."""

import math
from typing import Any

from ablation.results import Interval

NONE = "-"


def number(value: float, *, sign: str = "", like: float | None = None) -> str:
    """Four digits after the point below 10, two below 1,000; `like` is a greater number to go by, "+" shows signs."""
    if not math.isfinite(value):
        return NONE if math.isnan(value) else f"{value:{sign}}"
    size = max(abs(value), abs(like) if like is not None and math.isfinite(like) else 0.0)
    if size == 0:
        return "0"
    if size < 1e-3:
        return f"{value:{sign}.2e}"
    digits = 4 if size < 10 else 2 if size < 1000 else 0
    return f"{value:{sign},.{digits}f}"


def interval(found: Interval, *, sign: str = "") -> str:
    """The value, and behind it the interval if it has one."""
    size = max((abs(end) for end in (found.value, found.low, found.high) if math.isfinite(end)), default=0.0)
    value, low, high = (number(end, sign=sign, like=size) for end in (found.value, found.low, found.high))
    return value if NONE in (low, high) else f"{value} ({low} to {high})"


def probability(value: float) -> str:
    """Four digits; what is less than they say is said to be less."""
    if math.isnan(value):
        return NONE
    return "<0.0001" if 0 < value < 0.00005 else f"{value:.4f}"


def share(value: float) -> str:
    """In percent."""
    return NONE if math.isnan(value) else f"{100 * value:,.1f} %"


def count(value: float) -> str:
    """Whole, in groups of three digits; in powers of ten from a trillion on."""
    if math.isnan(value):
        return NONE
    return f"{value:,.0f}" if abs(value) < 1e12 else f"{value:.3e}"


def fixed(value: float, digits: int) -> str:
    """With so many digits after the point."""
    return NONE if math.isnan(value) else f"{value:,.{digits}f}"


def setting(value: Any) -> str:
    """A value of a configuration."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return ", ".join(f"{name}={setting(own)}" for name, own in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value))
    return str(value)


def listed(names: tuple[str, ...] | list[str]) -> str:
    """Names in a sentence: "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
