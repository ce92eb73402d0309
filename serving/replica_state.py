"""The state of the agent service, ten numbers for up to three replicas, and its one encoding.

    state = plain(loads=[5, 3, 7], queue_depth=12, latency_s=0.28, rps=8.2, success_rate=0.98)
    encoded(state)                            # [S] float32 in [0, 1]: what a policy sees
    reward(latency_ms=265.3, success=True, loads=[5, 4, 7])

Everywhere a state is a list of plain numbers in the units of `NAMES`: the loads of max(3, R)
replicas, 0 where there is none, and seven more. Only `encoded` makes what a network reads of it: a
number x that has no bound is shown as x / (x + scale).
"""

import time
from collections.abc import Sequence
from functools import lru_cache
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike

LEAST_LOADS = 3  # places for loads in a state
MOST_REPLICAS = 1024
MOST = 1e9  # of a number without a bound of its own
# After the loads: name, unit, and the scale on which it is shown; 0: a share, shown as it is.
_REST = (
    ("queue_depth", "requests", 16.0),
    ("latency", "s", 0.5),  # mean of the last minute
    ("rps", "requests/s", 10.0),
    ("success_rate", "share", 0.0),
    ("memory", "share", 0.0),
    ("cpu", "share", 0.0),
    ("time_of_day", "share of a day", 0.0),
)
_LOAD_SCALE = 16.0
_FAILURE = -10.0  # what a failed request is worth


def features(num_replicas: int) -> tuple[tuple[str, str], ...]:
    """(name, unit) of each number of a state of R replicas."""
    places = max(LEAST_LOADS, num_replicas)
    loads = tuple((f"load_{i + 1}", "requests") for i in range(places))
    return loads + tuple((name, unit) for name, unit, _ in _REST)


def plain(
    loads: Sequence[float],
    queue_depth: float = 0.0,
    latency_s: float = 0.0,
    rps: float = 0.0,
    success_rate: float = 1.0,
    memory: float = 0.5,
    cpu: float = 0.4,
    time_of_day: float | None = None,
) -> list[float]:
    """A state; the time of day is now, in local time, unless it is given."""
    day = _time_of_day(int(time.time() // 60)) if time_of_day is None else time_of_day
    missing = [0.0] * (LEAST_LOADS - len(loads))
    rest = (queue_depth, latency_s, rps, success_rate, memory, cpu, day)
    return [*map(float, loads), *missing, *map(float, rest)]


def checked(state: Sequence[float], num_replicas: int) -> list[float]:
    """The state, if it is one of so many replicas.

    Raises:
        ValueError: if it is not.
    """
    names = features(num_replicas)
    if len(state) != len(names):
        raise ValueError(
            f"state has {len(state)} numbers; one of {num_replicas} replicas has {len(names)}"
        )
    for value, (name, unit) in zip(state, names, strict=True):
        most = 1.0 if unit.startswith("share") else MOST
        if not (isfinite(value) and 0.0 <= value <= most):
            raise ValueError(f"{name} is {value}; allowed is a number from 0 to {most:g}")
    if any(state[num_replicas:LEAST_LOADS]):
        raise ValueError(f"state has loads of more than {num_replicas} replicas")
    return list(map(float, state))


def encoded(states: ArrayLike) -> np.ndarray:
    """What a policy sees of states, [..., S] float32."""
    seen = np.array(states, np.float32)
    scales, bounded = _scales(seen.shape[-1])
    unbounded = seen[..., :bounded]
    unbounded /= unbounded + scales
    return seen


def reward(latency_ms: float, success: bool, loads: Sequence[float]) -> float:
    """1 - latency in s - 0.1 times the variance of the loads; of a failure -10, and never less."""
    if not success:
        return _FAILURE
    mean = sum(loads) / len(loads)
    variance = sum((load - mean) ** 2 for load in loads) / len(loads)
    return max(1.0 - latency_ms / 1e3 - 0.1 * variance, _FAILURE)


@lru_cache
def _scales(size: int) -> tuple[np.ndarray, int]:
    """Of the numbers without a bound, which come first; and how many these are."""
    rest = [scale for _, _, scale in _REST if scale > 0.0]
    scales = [_LOAD_SCALE] * (size - len(_REST)) + rest
    return np.array(scales, np.float32), len(scales)


@lru_cache(maxsize=1)
def _time_of_day(minute: int) -> float:
    now = time.localtime(60.0 * minute)
    return (now.tm_hour + now.tm_min / 60.0) / 24.0
