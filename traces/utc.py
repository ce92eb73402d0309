"""Calendar times as text, and as time since the Unix epoch. All of them are UTC.

A time is written `2024-05-10 00:00:00`, with a `T` instead of the blank, a fraction of a second and
a zone of zero (`Z`, `+00:00`, `-00:00`) if need be. Years are 1900 to 2199: int64 holds nanoseconds
of 1678 to 2262 only. A float64 of seconds since the epoch resolves a quarter of a microsecond.
"""

import re
from collections.abc import Sequence

import numpy as np

EXPECTED = "a UTC time such as '2024-05-10 00:00:00'"

TIME = r"(?:19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
ZONE = r"Z|[+-]00:00"

_TEXT = re.compile(f"({TIME})(?:{ZONE})?")


def epoch_ns(texts: Sequence[str]) -> np.ndarray:
    """Nanoseconds since the epoch, [n] int64.

    Raises:
        ValueError: for a text of another form, and for a date or hour that does not exist.
    """
    times = []
    for text in texts:
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r}; expected {EXPECTED}")
        times.append(match[1])
    return np.array(times, "datetime64[ns]").astype(np.int64)


def epoch_s(name: str, text: str) -> float:
    """Seconds since the epoch of the option `name`, whose value is `text`.

    Raises:
        ValueError: for anything but a time; it says the name and the value.
    """
    try:
        return float(epoch_ns([text])[0]) / 1e9
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {text!r}; expected {EXPECTED}") from None
