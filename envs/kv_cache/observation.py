"""What the operator sees, from what it measures.

    observe(measured, config)  # [..., F] float32 in [-1, 1]

`Measured` holds plain numbers in physical units, which a simulated site and one in service both
have: nothing here knows the simulator. What is recent fades: a sum over requests, each times
0.5 ** (its age / half-life).

Shares, scores and angles are shown as they are. Loads, seconds and prices x are shown as
x / (|x| + s): bounded, and finest where most values lie.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

from marlserve.envs.kv_cache import demand
from marlserve.envs.kv_cache.config import Config

STATE_FEATURES = (
    "utilisation",  # servers that are busy, of all
    "waiting_ratio",  # requests that wait, of those that may
    "queue",  # waiting requests per server, s = 0.05
    "power",  # of the requests in service, of what full servers draw under the hungriest prompts
    "recent_wait",  # mean wait of those that left the queue, of the time-out; fades in a minute
    "recent_p95_latency",  # 95th percentile of seconds from arrival to completion; s = 20, fades
    "recent_score",  # mean quality of what completed, of the full cache's; fades
    "recent_losses",  # requests that timed out or failed, of those that arrived; fades
    "energy_price",  # $/MWh in force, over 100, cut off at -1 and 1
    "energy_price_level",  # the same, s = 50
    "energy_price_trend",  # $/MWh per hour, slope of the past half hour; s = 50
    "request_rate",  # arrivals of the last step as servers that they keep busy at full cache; s = 1
    "request_rate_mean",  # the same, over some five minutes
    "request_rate_trend",  # (last minute - last half hour) / their sum
    "time_of_day_sin",
    "time_of_day_cos",
    "day_of_week_sin",
    "day_of_week_cos",
)
_DAY_S, _WEEK_S, _MONDAY_S = 86_400.0, 604_800.0, 345_600.0  # the epoch was on a Thursday


class Measured(NamedTuple):
    """Of one site at one moment; leading axes as many as there are, such as copies. All [...]."""

    time_s: np.ndarray  # since the epoch
    busy_servers: np.ndarray
    waiting_requests: np.ndarray
    power_w: np.ndarray  # of the requests in service
    recent_wait_s: np.ndarray  # sum of waits / (their number + 1), of those that left the queue
    recent_p95_latency_s: np.ndarray  # of completed ones; towards 0 as less than one is left
    recent_score: np.ndarray  # sum of qualities / (their number + 1), of completed ones
    recent_loss_share: np.ndarray  # timed out or failed / (arrived + 1), half-life 30 s
    usd_per_mwh: np.ndarray  # in force
    usd_per_mwh_per_h: np.ndarray  # its slope over the past half hour
    arrived_per_s: np.ndarray  # in the last step
    arrived_per_s_1min: np.ndarray  # mean over steps, half-life 30 s
    arrived_per_s_5min: np.ndarray  # half-life 150 s
    arrived_per_s_30min: np.ndarray  # half-life 900 s
    last_action: np.ndarray  # its index; -1 before the first


# The same numbers of one moment side by side, as the compiled code takes them.
NUMBERS = np.dtype([(name, "f8") for name in Measured._fields])


class Site(NamedTuple):
    """What the numbers are relative to."""

    num_servers: float
    max_waiting: float
    full_w: float  # of all servers under the hungriest prompts
    timeout_s: float
    full_score: float  # mean quality of the full cache
    service_s: float  # mean seconds of a request at full cache
    num_actions: int


def observe(measured: Measured, config: Config) -> np.ndarray:
    """The observations, [..., F] float32, by `features`."""
    numbers = np.empty(np.shape(measured.time_s), NUMBERS)
    for name, values in zip(Measured._fields, measured, strict=True):
        numbers[name] = values
    return seen(numbers.reshape(-1), site_of(config)).reshape(*numbers.shape, -1)


def seen(numbers: np.ndarray, site: Site) -> np.ndarray:
    """The observations of `NUMBERS` [B], [B, F] float32."""
    rows = np.zeros((len(numbers), len(STATE_FEATURES) + site.num_actions), np.float32)
    _fill(rows, numbers, site)
    return rows


@lru_cache(maxsize=32)
def site_of(config: Config) -> Site:
    """The site of a Config, under its profile."""
    profile = demand.profile(config.profile_path, config.data_seed)
    return Site(
        num_servers=float(config.num_servers),
        max_waiting=float(most_waiting(config)),
        full_w=config.num_servers * float((profile.energy_j / profile.service_s).max()),
        timeout_s=config.timeout_s,
        full_score=float(profile.score[-1].mean()),
        service_s=float(profile.service_s[-1].mean()),
        num_actions=len(action_names(config)),
    )


def action_names(config: Config) -> tuple[str, ...]:
    """Of the actions in their order."""
    configs = demand.profile(config.profile_path, config.data_seed).configs
    return (*configs, *(("deny",) if config.enable_deny else ()))


def features(config: Config) -> tuple[str, ...]:
    """The F names of what is seen, in order; after the numbers of the state one place for each
    action, which is 1 at the last one."""
    return STATE_FEATURES + tuple(f"last_action_{name}" for name in action_names(config))


def most_waiting(config: Config) -> int:
    """Requests that may wait."""
    return 5 * config.num_servers if config.max_waiting is None else config.max_waiting


@njit(cache=True, inline="always")
def _shown(value, scale):
    return value / (abs(value) + scale)


@njit(cache=True)
def _fill(rows, numbers, site):
    for b in range(len(rows)):
        row, m = rows[b], numbers[b]
        row[0] = m.busy_servers / site.num_servers
        row[1] = m.waiting_requests / max(site.max_waiting, 1.0)
        row[2] = _shown(m.waiting_requests / site.num_servers, 0.05)
        row[3] = min(m.power_w / site.full_w, 1.0)
        row[4] = min(m.recent_wait_s / site.timeout_s, 1.0)
        row[5] = _shown(m.recent_p95_latency_s, 20.0)
        row[6] = min(m.recent_score / site.full_score, 1.0)
        row[7] = min(m.recent_loss_share, 1.0)
        row[8] = max(min(m.usd_per_mwh / 100.0, 1.0), -1.0)
        row[9] = _shown(m.usd_per_mwh, 50.0)
        row[10] = _shown(m.usd_per_mwh_per_h, 50.0)
        busy_per_s = site.service_s / site.num_servers  # of an arrival in a second
        row[11] = _shown(m.arrived_per_s * busy_per_s, 1.0)
        row[12] = _shown(m.arrived_per_s_5min * busy_per_s, 1.0)
        fast, slow = m.arrived_per_s_1min, m.arrived_per_s_30min
        row[13] = (fast - slow) / max(fast + slow, 1e-9)
        day = 2 * np.pi * m.time_s / _DAY_S
        week = 2 * np.pi * (m.time_s - _MONDAY_S) / _WEEK_S
        row[14], row[15], row[16], row[17] = np.sin(day), np.cos(day), np.sin(week), np.cos(week)
        if m.last_action >= 0:
            row[18 + int(m.last_action)] = 1.0
