"""Calendar times as text, and as time since the Unix epoch. All of them are UTC.

A time is written `2024-05-10 00:00:00`, with a `T` instead of the blank, a fraction of a second and
a zone of zero (`Z`, `+00:00`, `-00:00`) if need be. Years are 1900 to 2199: int64 holds nanoseconds
of 1678 to 2262 only. A float64 of seconds since the epoch resolves a quarter of a microsecond.
"""

import re
from collections.abc import Sequence

import numpy as np

EXPECTED = "a UTC time such as '2024-05-10 00:00:00'"

_TIME = re.compile(
    r"((?:19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?)"
    r"(?:Z|[+-]00:00)?"
)


def epoch_ns(texts: Sequence[str]) -> np.ndarray:
    """Nanoseconds since the epoch, [n] int64.

    Raises:
        ValueError: for a text of another form, and for a date or hour that does not exist.
    """
    matches = list(map(_TIME.fullmatch, texts))
    if None in matches:
        raise ValueError(f"{texts[matches.index(None)]!r}; expected {EXPECTED}")
    return np.array([match[1] for match in matches], "datetime64[ns]").astype(np.int64)


def epoch_s(name: str, text: str) -> float:
    """Seconds since the epoch of the option `name`, whose value is `text`.

    Raises:
        ValueError: for anything but a time; it says the name and the value.
    """
    try:
        return float(epoch_ns([text])[0]) / 1e9
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {text!r}; expected {EXPECTED}") from None
