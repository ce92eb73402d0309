"""Checks of the fields of a problem's Config, at the door.

    number(self, "step_s", 0.001, 3600.0)    # finite, an int or a float
    whole(self, "num_servers", 1, 1000)      # an int; True is none

Each raises a `ValueError` that names the field, its value and what is allowed. Upper bounds are
there too: a value that is only too large for any computer would otherwise show as a lack of memory
or as a loop that never ends.
"""

import math
from collections.abc import Collection
from typing import Any


def require(config: Any, name: str, good: bool, allowed: str) -> None:
    """Refuse the value of field `name` unless it is good.

    Raises:
        ValueError: if it is not.
    """
    if not good:
        raise ValueError(f"{name} is {getattr(config, name)!r}; allowed is {allowed}")


def is_number(value: Any, low: float, high: float) -> bool:
    """Whether it is an int or a float, not a bool, in [low, high]; NaN is in no range."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def is_whole(value: Any, low: int, high: float = math.inf) -> bool:
    """Whether it is an int, not a bool, in [low, high]."""
    return isinstance(value, int) and is_number(value, low, high)


def number(config: Any, name: str, low: float, high: float) -> None:
    """Require a number in [low, high]."""
    good = is_number(getattr(config, name), low, high)
    require(config, name, good, f"a number from {low:g} to {high:g}")


def whole(config: Any, name: str, low: int, high: float = math.inf, none: bool = False) -> None:
    """Require an int in [low, high], or None where that is allowed."""
    value = getattr(config, name)
    allowed = f"whole, at least {low}" + (f", at most {high}" if high < math.inf else "")
    good = (none and value is None) or is_whole(value, low, high)
    require(config, name, good, f"None, or {allowed}" if none else allowed)


def choice(config: Any, name: str, allowed: Collection[str]) -> None:
    """Require one of these strings."""
    value = getattr(config, name)
    require(config, name, isinstance(value, str) and value in allowed, f"one of {tuple(allowed)}")


def kind(config: Any, name: str, expected: type) -> None:
    """Require a value of this type, such as str or bool."""
    good = isinstance(getattr(config, name), expected)
    require(config, name, good, f"a {expected.__name__}")


def numbers(
    config: Any, name: str, low: float, high: float, least: int = 1, most: float = math.inf
) -> None:
    """Require a tuple of `least` to `most` numbers in [low, high]."""
    values = getattr(config, name)
    good = isinstance(values, tuple) and least <= len(values) <= most
    good = good and all(is_number(value, low, high) for value in values)
    allowed = f"a tuple of at least {least} numbers from {low:g} to {high:g}"
    require(config, name, good, allowed + (f", at most {most}" if most < math.inf else ""))


def interval(config: Any, name: str, low: float, high: float) -> None:
    """Require (a, b) with low <= a <= b <= high."""
    values = getattr(config, name)
    good = isinstance(values, tuple) and len(values) == 2
    good = good and all(is_number(value, low, high) for value in values) and values[0] <= values[1]
    require(config, name, good, f"(low, high) with {low:g} <= low <= high <= {high:g}")


def tuples(config: Any, *names: str) -> None:
    """Turn lists, as JSON and the command line give them, into tuples; for frozen dataclasses."""
    for name in names:
        if isinstance(getattr(config, name), list):
            object.__setattr__(config, name, tuple(getattr(config, name)))
