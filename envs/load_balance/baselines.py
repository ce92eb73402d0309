"""Heuristics for load balancing. Those that are told nothing but cores are what is deployed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from marlserve.envs.base import Baseline, Policy
from marlserve.envs.load_balance.config import MAX_WEIGHT, MIN_WEIGHT, Config
from marlserve.envs.load_balance.observation import FEATURES

ByAgent = dict[str, np.ndarray]
_RECENT, _LONG = FEATURES.index("duration_discounted_mean"), FEATURES.index("fct_mean")


def equal(config: Config) -> np.ndarray:
    """The same weight for every server, [M]."""
    return np.ones(config.num_servers)


def by_cores(config: Config, power: float = 1.0) -> np.ndarray:
    """Weights in proportion to a power of the cores, [M]."""
    return (np.asarray(config.cores) / max(config.cores)) ** power * MAX_WEIGHT


def constant(weights: Callable[[Config], np.ndarray]) -> Callable[..., Policy]:
    """The same weights at every step."""
    return lambda problem: weighing(lambda seen: weights(problem.config))


def weighing(weights: Callable[[np.ndarray], np.ndarray]) -> Policy:
    """Weights that follow from what a balancer sees: [B, M, F] -> [B, M] or [M], scaled to at most
    MAX_WEIGHT."""

    def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
        return {
            agent: np.broadcast_to(scaled(weights(seen)), seen.shape[:-1])
            for agent, seen in observations.items()
        }

    return act


def scaled(weights: np.ndarray) -> np.ndarray:
    """The same ratios, [..., M], with a largest weight of MAX_WEIGHT and none below MIN_WEIGHT."""
    weights = weights * (MAX_WEIGHT / weights.max(axis=-1, keepdims=True))
    return weights.clip(MIN_WEIGHT).astype(np.float32)


def powered(problem: Any, power: float = 1.0) -> Policy:
    """Fixed weights, cores ** power: what the ratio of large to small servers should be."""
    values = by_cores(problem.config, power)
    return weighing(lambda seen: values)


def probing(problem: Any) -> Policy:
    """Weights by cores over probed jobs, cores / (jobs + 1), refreshed at every step.

    The active WCMP of Yao et al. 2022: probes tell the true number of busy workers.
    """
    cores = by_cores(problem.config)

    def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
        values = scaled(cores / (problem.measured().probed_jobs + 1.0))  # [B, K, M]
        return {agent: values[:, k] for k, agent in enumerate(problem.agents)}

    return act


def told(problem: Any) -> Policy:
    """Weights by cores times the speeds that the servers have at the moment."""

    def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
        servers = problem.cluster.servers
        return dict.fromkeys(problem.agents, scaled(servers["cores"] * servers["speed"]))

    return act


def adapting(problem: Any, power: float = 1.0, floor_s: float = 0.1) -> Policy:
    """Weights by cores over the time that own flows take, cores / (floor_s + their mean) ** power.

    So a server that became slow is spared before it is full. The mean is the discounted one of all
    durations, those of flows in progress included; of 0.02, 0.05, 0.1 and 0.2 s and of completed
    flows alone, this was the fastest over the presets' training traffic.
    """
    cores = by_cores(problem.config)

    def weights(seen: np.ndarray) -> np.ndarray:
        return cores * (floor_s / (floor_s + _mean_s(seen))) ** power

    return weighing(weights)


def remembering(
    problem: Any, power: float = 1.5, floor_s: float = 0.005, memory: float = 0.5
) -> Policy:
    """As `adapting`, by two means: of recent durations, which tells soon that a server slowed down,
    and of all that is remembered of completed flows, which tells best how fast one usually is.

    The geometric mean of the two counts, in which `memory` is the share of the second.
    """
    cores = by_cores(problem.config)

    def weights(seen: np.ndarray) -> np.ndarray:
        mean_s = _mean_s(seen) ** (1.0 - memory) * _mean_s(seen, _LONG) ** memory
        return cores * (floor_s / (floor_s + mean_s)) ** power

    return weighing(weights)


def ejecting(problem: Any, factor: float = 2.0) -> Policy:
    """Weights by cores, but next to nothing for outliers: servers on which own flows take longer
    than `factor` times the median over the servers. Envoy's outlier detection does so for failures.
    """
    cores = by_cores(problem.config)

    def weights(seen: np.ndarray) -> np.ndarray:
        mean_s = _mean_s(seen)
        slow = mean_s > factor * np.median(mean_s, axis=-1, keepdims=True)
        return np.where(slow, 0.0, cores)

    return weighing(weights)


def _mean_s(seen: np.ndarray, column: int = _RECENT) -> np.ndarray:
    """A mean of flows' durations, [B, M]; t seconds are shown as t / (t + 0.1)."""
    shown = seen[..., column].astype(float)
    return 0.1 * shown / (1.0 - shown)


def _under(dispatch: str) -> Callable[[Config], Config]:
    """The problem with this rule of dispatch, and real weights."""
    return lambda config: replace(config, dispatch=dispatch, action="weights")


_SED, _GLOBAL = _under("shortest_expected_delay"), _under("global_shortest_expected_delay")
_RANDOM, _TWO = _under("weighted_random"), _under("power_of_two")

BASELINES = {
    "random": Baseline(constant(equal), _RANDOM),  # ECMP
    "round_robin": Baseline(constant(equal), _under("round_robin")),
    "wcmp": Baseline(constant(by_cores), _RANDOM),
    "adaptive_wcmp": Baseline(probing, _RANDOM),
    "power_of_two": Baseline(constant(equal), _TWO),
    "weighted_power_of_two": Baseline(constant(by_cores), _TWO),
    "lsq": Baseline(constant(equal), _SED),  # local shortest queue
    "sed": Baseline(constant(by_cores), _SED),
    "adaptive_sed": Baseline(adapting, _SED),
    "remembering_sed": Baseline(remembering, _SED),
    "ejecting_sed": Baseline(ejecting, _SED),
    "told_sed": Baseline(told, _SED, oracle=True),
    "join_shortest_queue": Baseline(constant(equal), _GLOBAL, oracle=True),
    "global_sed": Baseline(constant(by_cores), _GLOBAL, oracle=True),
    "told_global_sed": Baseline(told, _GLOBAL, oracle=True),
}
