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

from marlserve.envs.replica_routing.source import (
    CPU,
    FAILURE,
    LEAST_LOADS,
    MEMORY,
    encoded,
    features,
)

__all__ = ["LEAST_LOADS", "checked", "encoded", "features", "plain", "reward"]

MOST_REPLICAS = 1024
MOST = 1e9  # of a number without a bound of its own


def plain(
    loads: Sequence[float],
    queue_depth: float = 0.0,
    latency_s: float = 0.0,
    rps: float = 0.0,
    success_rate: float = 1.0,
    memory: float = MEMORY,
    cpu: float = CPU,
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


def reward(latency_ms: float, success: bool, loads: Sequence[float]) -> float:
    """1 - latency in s - 0.1 times the variance of the loads; of a failure -10, and never less."""
    if not success:
        return FAILURE
    mean = sum(loads) / len(loads)
    variance = sum((load - mean) ** 2 for load in loads) / len(loads)
    return max(1.0 - latency_ms / 1e3 - 0.1 * variance, FAILURE)


@lru_cache(maxsize=1)
def _time_of_day(minute: int) -> float:
    now = time.localtime(60.0 * minute)
    return (now.tm_hour + now.tm_min / 60.0) / 24.0
