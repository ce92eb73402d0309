"""An oracle that is told every arrival and price of the episode, and plans through a fluid model.

State of the model: n requests in the system, and the mean service time T of these. In a step of
dt seconds a requests arrive under a configuration with mean service time s, of n requests
min(n, servers) * min(dt / T, 1) complete (the ages of what is in service being uniform), and
requests beyond what can begin within the time-out are lost. Rewards are those of
`rewards.expected`, less penalties for waiting and losses. Dynamic programming over all steps,
backwards, gives the action for every state on a grid; in play, the true n and T are looked up.

The model is fluid, so this is no upper bound, but no deployment could know as much.
"""

import numpy as np
from numba import njit

from marlserve.envs.base import Policy
from marlserve.envs.kv_cache import rewards

_REQUESTS, _MEANS = 81, 9  # places on the grid of n and of T
_AHEAD = 2  # prices count in the mean of as many steps: those of a service


def oracle(problem) -> Policy:
    """Plans at the beginning of every episode."""
    config = problem.config
    service_s = problem.profile.service_s.mean(axis=-1)
    most = 1.05 * config.num_servers * (1.0 + config.timeout_s / service_s.min())
    grid = (
        np.linspace(0.0, most, _REQUESTS),
        np.linspace(service_s.min(), service_s.max(), _MEANS),
    )
    plans: list[np.ndarray | None] = [None] * problem.num_envs  # [steps, n, T]

    def act(observations):
        steps = np.round(problem.pool.copies["clock_s"] / config.step_s).astype(int)
        chosen = np.zeros(problem.num_envs, np.int64)
        for copy, step in enumerate(steps):
            if step == 0 or plans[copy] is None:
                plans[copy] = _planned(problem, copy, service_s, grid)
            inside = problem.pool.in_system(copy)["service_s"]
            state = (len(inside), inside.mean() if len(inside) else service_s[-1])
            n, t = (np.abs(axis - x).argmin() for axis, x in zip(grid, state, strict=True))
            chosen[copy] = plans[copy][step, n, t]
        return {"operator": chosen.reshape(observations["operator"].shape[:-1])}

    return act


def _planned(problem, copy: int, service_s: np.ndarray, grid: tuple) -> np.ndarray:
    """The best action for every step and state on the grid: [steps, n, T] int8."""
    config, arrivals = problem.config, problem.demand.counts(copy)
    price = problem.demand.prices(copy)
    ahead = np.concatenate([price, np.repeat(price[-1:], _AHEAD - 1)])
    worth = rewards.expected(problem, np.convolve(ahead, np.full(_AHEAD, 1 / _AHEAD), "valid"))
    waiting, lost, denial = 0.0, 0.0, rewards.DENIAL
    if config.reward == "profit":
        waiting, lost = config.wait_penalty_usd_per_s, config.loss_penalty_usd
        denial = -config.denial_penalty_usd
    if config.enable_deny:
        worth = np.column_stack([worth, np.full(len(worth), denial)])
        service_s = np.append(service_s, 0.0)  # marks what does not enter the system
    if config.reward == "source":  # a mean over requests, not a sum
        worth = worth / np.maximum(arrivals, 1)[:, None]
    return _plan(
        *(arrivals.astype(float), worth, service_s, *grid, config.step_s),
        *(float(config.num_servers), config.timeout_s, waiting, lost),
    )


@njit(cache=True)
def _plan(
    arrivals, worth, service_s, requests, means, step_s, servers, timeout_s, waiting_usd, lost_usd
):
    actions = np.zeros((len(arrivals), len(requests), len(means)), np.int8)
    values, later = np.zeros((len(requests), len(means))), np.zeros((len(requests), len(means)))
    for step in range(len(arrivals) - 1, -1, -1):
        values, later = later, values
        for i in range(len(requests)):
            for j in range(len(means)):
                best, choice = -np.inf, 0
                done = min(requests[i], servers) * min(step_s / means[j], 1.0)
                left = requests[i] - done
                for a in range(len(service_s)):
                    admitted = arrivals[step] if service_s[a] > 0.0 else 0.0
                    n = left + admitted
                    seconds = left * means[j] + admitted * service_s[a]
                    mean_s = seconds / n if n > 0.0 else means[j]
                    queue = max(n - servers, 0.0)
                    over = max(queue - servers * timeout_s / mean_s, 0.0)
                    value = arrivals[step] * worth[step, a] - waiting_usd * (queue - over) * step_s
                    value -= over * (worth[step, a] + lost_usd)
                    value += _interpolated(later, requests, means, n - over, mean_s)
                    if value > best:
                        best, choice = value, a
                values[i, j], actions[step, i, j] = best, choice
    return actions


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
