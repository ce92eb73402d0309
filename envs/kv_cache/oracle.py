"""An oracle that is told every arrival and price of the episode, and plans through a fluid model.

State of the model: n requests in the system, and the mean service time T of these. In a step of
dt seconds a requests arrive under a configuration with mean service time s, of n requests
min(n, servers) * min(dt / T, 1) complete (the ages of what is in service being uniform), and
requests beyond what can begin within the time-out are lost. Rewards are those of
`rewards.expected`, less penalties for waiting and losses. Dynamic programming over all steps,
backwards, gives the value of every state on a grid. In play the oracle looks one step ahead from
the true state, with the true completions in that step, and takes the best value.

The model is fluid, so this is no upper bound, but no deployment could know as much.
"""

from typing import Any

import numpy as np
from numba import njit

from marlserve.envs.base import Policy
from marlserve.envs.kv_cache import rewards

_REQUESTS, _MEANS = 81, 7  # places on the grid of n and of T
_AHEAD = 2  # prices count in the mean of as many steps: those of a service


def oracle(problem: Any) -> Policy:
    """Plans at the beginning of every episode."""
    plans: list[tuple | None] = [None] * problem.num_envs

    def act(
        observations: dict[str, np.ndarray], masks: dict[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        steps = np.round(problem.pool.copies["clock_s"] / problem.config.step_s).astype(int)
        chosen = np.zeros(problem.num_envs, np.int64)
        for copy, step in enumerate(steps):
            plan = plans[copy]
            if step == 0 or plan is None:
                plans[copy] = plan = _planned(problem, copy)
            values, arrivals, worth, model = plan
            inside = problem.pool.in_system(copy)
            now_s = problem.pool.copies["clock_s"][copy]
            ends_s = (inside["start_s"] + inside["service_s"])[: problem.pool.copies["busy"][copy]]
            stays = np.ones(len(inside), bool)
            stays[: len(ends_s)] = ends_s >= now_s + problem.config.step_s
            left, seconds = float(stays.sum()), float(inside["service_s"][stays].sum())
            later = values[step + 1]
            chosen[copy] = _best(later, left, seconds, arrivals[step], worth[step], model)[1]
        return {"operator": chosen}

    return act


def _planned(problem, copy: int) -> tuple:
    """Values [steps + 1, n, T], arrivals [steps], worth [steps, A], and the model's constants."""
    config, arrivals = problem.config, problem.demand.counts(copy)
    price = problem.demand.prices(copy)
    ahead = np.concatenate([price, np.repeat(price[-1:], _AHEAD - 1)])
    worth = rewards.expected(problem, np.convolve(ahead, np.full(_AHEAD, 1 / _AHEAD), "valid"))
    waiting, lost, denial = 0.0, 0.0, rewards.DENIAL
    if config.reward == "profit":
        waiting, lost = config.wait_penalty_usd_per_s, config.loss_penalty_usd
        denial = -config.denial_penalty_usd
    service_s = problem.profile.service_s.mean(axis=-1)
    most = 1.05 * config.num_servers * (1.0 + config.timeout_s / service_s.min())
    requests = np.linspace(0.0, most, _REQUESTS)
    means = np.linspace(service_s.min(), service_s.max(), _MEANS)
    if config.enable_deny:
        worth = np.column_stack([worth, np.full(len(worth), denial)])
        service_s = np.append(service_s, 0.0)  # marks what does not enter the system
    if config.reward == "source":  # a mean over requests, not a sum
        worth = worth / np.maximum(arrivals, 1)[:, None]
    scalars = (config.step_s, float(config.num_servers), config.timeout_s, waiting, lost)
    model = (service_s, requests, means, *scalars)
    arrivals, worth = arrivals.astype(float), np.ascontiguousarray(worth)
    return _values(arrivals, worth, model), arrivals, worth, model


@njit(cache=True)
def _values(arrivals, worth, model):
    _, requests, means, step_s, servers, _, _, _ = model
    values = np.zeros((len(arrivals) + 1, len(requests), len(means)), np.float32)
    for step in range(len(arrivals) - 1, -1, -1):
        for i in range(len(requests)):
            for j in range(len(means)):
                left = requests[i] - min(requests[i], servers) * min(step_s / means[j], 1.0)
                values[step, i, j] = _best(
                    values[step + 1], left, left * means[j], arrivals[step], worth[step], model
                )[0]
    return values


@njit(cache=True)
def _best(later, left, seconds, arrived, worth, model):
    """The best value and its action, with `left` requests of as many service seconds in sum that
    stay in the system over this step."""
    service_s, requests, means, step_s, servers, timeout_s, waiting, lost = model
    best, choice = -np.inf, 0
    for a in range(len(service_s)):
        admitted = arrived if service_s[a] > 0.0 else 0.0
        n = left + admitted
        mean_s = (seconds + admitted * service_s[a]) / n if n > 0.0 else means[0]
        queue = max(n - servers, 0.0)
        over = max(queue - servers * timeout_s / mean_s, 0.0)
        value = arrived * worth[a] - waiting * (queue - over) * step_s - over * (worth[a] + lost)
        value += _interpolated(later, requests, means, n - over, mean_s)
        if value > best:
            best, choice = value, a
    return best, choice


@njit(cache=True)
def _interpolated(values, requests, means, n, mean_s):
    """Bilinear, at the nearest place on the grid if outside."""
    x = min(max(n / (requests[1] - requests[0]), 0.0), len(requests) - 1.000001)
    y = (mean_s - means[0]) / (means[1] - means[0])
    y = min(max(y, 0.0), len(means) - 1.000001)
    i, j = int(x), int(y)
    x, y = x - i, y - j
    below = values[i, j] * (1 - y) + values[i, j + 1] * y
    above = values[i + 1, j] * (1 - y) + values[i + 1, j + 1] * y
    return below * (1 - x) + above * x
