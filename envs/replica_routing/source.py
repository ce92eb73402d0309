"""What the agent service sees and is paid: ten numbers, and a reward; the preset SOURCE plays them.

A state is a list of plain numbers, named by `features`: the requests under way at each of max(3, R)
replicas, 0 where there is none, and seven more. Only `encoded` makes what a network reads of it: a
number x that has no bound is shown as x / (x + scale). Loads and what was lately are those of all
gateways, as the service's are, which lie in one store; memory and CPU, which are measured nowhere,
and the time of day are constants, as in what the service is asked.

The reward of a request that was served is 1 - min(latency in s, 1) - 0.1 variance of the loads, and
that of one that failed -10. The variance is that of all loads there are, and has no bound.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from marlserve.envs.sims import replica_arrays as has
from marlserve.envs.sims.gateways import Gateways

LEAST_LOADS = 3  # places for loads in a state
FAILURE = -10.0  # what a failed request is worth
RECENT_S = 60.0  # over which latency, rate and success are taken
MEMORY, CPU, TIME_OF_DAY = 0.5, 0.4, 0.5
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


def features(num_replicas: int) -> tuple[tuple[str, str], ...]:
    """(name, unit) of each number of a state of R replicas."""
    places = max(LEAST_LOADS, num_replicas)
    loads = tuple((f"load_{i + 1}", "requests") for i in range(places))
    return loads + tuple((name, unit) for name, unit, _ in _REST)


def encoded(states: ArrayLike) -> np.ndarray:
    """What a policy sees of states, [..., S] float32."""
    seen = np.array(states, np.float32)
    scales, bounded = _scales(seen.shape[-1])
    unbounded = seen[..., :bounded]
    unbounded /= unbounded + scales
    return seen


def states(gateways: Gateways) -> np.ndarray:
    """The state of each copy now, [B, S]."""
    b, _, r = gateways.shape
    requests, now_ns = gateways.replicas.requests, gateways.copies["clock_ns"]
    since_ns = np.maximum(now_ns - round(RECENT_S * 1e9), 0)
    ended_ns, now, since = requests["last_token_ns"], now_ns[:, None], since_ns[:, None]
    ended = (ended_ns >= 0) & (ended_ns > since) & (ended_ns <= now)
    served = ended & (requests["status"] == has.COMPLETED)
    took_ns = np.where(served, ended_ns - requests["arrival_ns"], 0).sum(axis=1)
    came = (requests["status"] > 0) & (requests["arrival_ns"] > since)
    num_served, num_ended = served.sum(axis=1), ended.sum(axis=1)
    found = np.zeros((b, len(features(r))))
    found[:, :r] = gateways.pairs["requests"].sum(axis=1)
    rest = (
        gateways.scraped["waiting"].sum(axis=1),
        took_ns / np.maximum(num_served, 1) / 1e9,
        came.sum(axis=1) / np.maximum((now_ns - since_ns) / 1e9, 1.0),
        np.where(num_ended > 0, num_served / np.maximum(num_ended, 1), 1.0),
    )
    found[:, -len(_REST) :] = np.stack(
        [*rest, *(np.full(b, x) for x in (MEMORY, CPU, TIME_OF_DAY))], axis=-1
    )
    return found


def reward(latency_s: ArrayLike, success: ArrayLike, loads: np.ndarray) -> np.ndarray:
    """Of requests, [...], by the loads of the replicas, [..., R]."""
    earned = 1.0 - np.minimum(latency_s, 1.0) - 0.1 * loads.var(axis=-1)
    return np.where(success, earned, FAILURE)


def foreseen(gateways: Gateways, chosen: np.ndarray) -> np.ndarray:
    """Of each gateway's present request if it goes where it is sent, [B, G]; 0 without one.

    By the latency that it has if no more requests come, and the loads with it.
    """
    own_s, _ = gateways.what_if(0.0, 1.0)
    sent = chosen[..., None] == np.arange(gateways.shape[2])  # [B, G, R]
    replicas = gateways.replicas.replicas
    up = ((replicas["down"] == 0) & (replicas["draining"] == 0))[:, None]
    loads = gateways.pairs["requests"].sum(axis=1)[:, None] + sent
    earned = reward((own_s * sent).sum(axis=-1), (up & sent).any(axis=-1), loads)
    return np.where(gateways.present() >= 0, earned, 0.0)


def mean_reward(requests: np.ndarray, since_ns: int, num_replicas: int) -> float:
    """Of the requests of one copy that came since then, by what became of them: the latencies that
    they had, and the loads as each ended, itself among them."""
    sent = requests[requests["status"] > 0]
    asked = sent[sent["arrival_ns"] >= since_ns]
    at_ns = asked["last_token_ns"]
    loads = np.zeros((len(asked), num_replicas))
    for r in range(num_replicas):
        own = sent[sent["replica"] == r]
        loads[:, r] = np.searchsorted(own["arrival_ns"], at_ns, "right")
        loads[:, r] -= np.searchsorted(np.sort(own["last_token_ns"]), at_ns, "left")
    latency_s = (at_ns - asked["arrival_ns"]) / 1e9
    earned = reward(latency_s, asked["status"] == has.COMPLETED, loads)
    return float(earned.mean()) if len(earned) else 0.0


@lru_cache
def _scales(size: int) -> tuple[np.ndarray, int]:
    """Of the numbers without a bound, which come first; and how many these are."""
    rest = [scale for _, _, scale in _REST if scale > 0.0]
    scales = [_LOAD_SCALE] * (size - len(_REST)) + rest
    return np.array(scales, np.float32), len(scales)
