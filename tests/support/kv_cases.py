"""Files of requests and prices, and episodes of the KV-cache problem, for tests."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from marlserve.envs.kv_cache import BASELINES, Config, Problem

START = "2024-05-10 00:00:00"
START_S = datetime.fromisoformat(START).replace(tzinfo=UTC).timestamp()

# Half an hour at which 50 servers are too few, so that all outcomes occur.
CROWDED = Config(
    num_servers=50,
    max_waiting=20,
    timeout_s=9.0,
    start_time="2024-05-06 16:00:00",
    request_scale=0.4,
    episode_hours=0.5,
)
COPIES, NUM_ACTIONS = 3, 7


def crowded(**changes) -> tuple[Problem, np.ndarray]:
    """A problem of COPIES with records, and actions [K, B], the first half without denials."""
    problem = Problem(replace(CROWDED, **changes), COPIES, record=True)
    rng = np.random.default_rng(0)
    actions = rng.integers(NUM_ACTIONS, size=(CROWDED.num_steps, COPIES))
    actions[:90] %= NUM_ACTIONS - 1
    return problem, actions


def counts_csv(path, counts, bin_s: float = 10.0, start_s: float = START_S) -> str:
    """Requests per bin."""
    rows = [f"{_utc(start_s + i * bin_s)},{count}" for i, count in enumerate(counts)]
    return _written(path, ["Time,TIMESTAMP", *rows])


def requests_csv(path, times_s, start_s: float = START_S) -> str:
    """A row for each request."""
    rows = [f"{_utc(start_s + time_s)},100,10" for time_s in times_s]
    return _written(path, ["TIMESTAMP,ContextTokens,GeneratedTokens", *rows])


def prices_csv(path, prices, interval_s: float = 300.0, start_s: float = START_S) -> str:
    rows = [f"{_utc(start_s + i * interval_s)},{price}" for i, price in enumerate(prices)]
    return _written(path, ["INTERVALSTARTTIME_GMT,VALUE", *rows])


def played(config: Config, baseline: str, seeds) -> tuple[Problem, np.ndarray]:
    """An episode for each seed: the problem after it, and all rewards [K, B]."""
    baseline = BASELINES[baseline]
    problem = Problem(baseline.configure(config), len(seeds))
    policy, observations = baseline.policy(problem), problem.reset(seeds)
    rewards, over = [], np.zeros(len(seeds), bool)
    while not over.any():
        actions = policy({"operator": observations[:, 0]})["operator"]
        observations, reward, _, over = problem.step(actions[:, None])
        rewards.append(reward[:, 0])
    return problem, np.array(rewards)


def steps(problem: Problem, seeds, choose: Callable[[int], np.ndarray]):
    """An episode under actions choose(k) [B]; gives k and the reward [B] after each step."""
    problem.reset(seeds)
    for k in range(problem.config.num_steps):
        yield k, problem.step(np.asarray(choose(k))[:, None])[1][:, 0]


def _utc(time_s: float) -> str:
    return datetime.fromtimestamp(round(time_s, 6), UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _written(path, lines: list[str]) -> str:
    path.write_text("\n".join(lines) + "\n")
    return str(path)
