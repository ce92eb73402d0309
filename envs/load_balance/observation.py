"""What a balancer sees of the servers, from what it measures itself.

    observe(measured, config)  # [..., M, F] float32

`Measured` holds plain numbers in physical units, which a simulated balancer and one in service both
have: nothing here knows the simulator. In the observation flows n are shown as n / (n + 4), rates r
per second as r / (r + 10), seconds t as t / (t + 0.1): bounded, and finest where most values lie.
"""

from typing import NamedTuple

import numpy as np

from marlserve.envs.load_balance.config import MAX_WEIGHT, Config
from marlserve.envs.sims.reservoir import FEATURES as STATISTICS

# Columns of the observation, per server.
FEATURES = (
    "ongoing",  # own flows in progress
    "completion_rate",  # own flows completed per second, in a mean with weight 0.9 ** age_s
    *(f"fct_{name}" for name in STATISTICS),  # of completed flows: time from arrival to completion
    *(f"duration_{name}" for name in STATISTICS),  # of flows in progress, once a step: time so far
    "last_weight",  # in force until now, over the largest one possible
    "agent_index",  # k / K, the same for all servers
)
_SCALES = np.array([4.0, 10.0] + [0.1] * 2 * len(STATISTICS), np.float32)
_PLACES = {name: FEATURES.index(f"{name}_{STATISTICS[0]}") for name in ("fct", "duration")}


def features(config: Config) -> tuple[str, ...]:
    """The F names of what is seen of each server, in order; they are the same for all Configs."""
    return FEATURES


class Measured(NamedTuple):
    """Of M servers, by one balancer; leading axes as many as there are, such as copies, balancers.

    Statistics are those of `sims.reservoir.FEATURES`, in their order.
    """

    ongoing_flows: np.ndarray  # own ones in progress, [..., M]
    completed_per_s: np.ndarray  # own flows, in a mean with weight 0.9 ** age_s, [..., M]
    fct_s: np.ndarray  # statistics of completed flows: from arrival to completion, [..., M, 5]
    duration_s: np.ndarray  # of flows in progress, looked at once a step: so far, [..., M, 5]
    last_weight: np.ndarray  # in force until now, [..., M]
    balancer: np.ndarray  # which of the K balancers it is, [...]
    probed_jobs: np.ndarray  # jobs at the server, everybody's, as a probe tells; not seen, [..., M]


def observe(measured: Measured, config: Config) -> np.ndarray:
    """The observations, [..., M, F] float32, by `FEATURES`."""
    last_weight = np.asarray(measured.last_weight)
    seen = np.empty((*last_weight.shape, len(FEATURES)), np.float32)
    seen[..., 0], seen[..., 1] = measured.ongoing_flows, measured.completed_per_s
    for name, statistics in (("fct", measured.fct_s), ("duration", measured.duration_s)):
        seen[..., _PLACES[name] : _PLACES[name] + len(STATISTICS)] = statistics
    seen[..., :-2] /= seen[..., :-2] + _SCALES
    seen[..., -2] = last_weight / largest_weight(config)
    seen[..., -1] = np.asarray(measured.balancer)[..., None] / config.num_balancers
    return seen


def largest_weight(config: Config) -> float:
    """That can be in force: 1 is at first."""
    return max(1.0, *config.weight_levels) if config.action == "levels" else MAX_WEIGHT
