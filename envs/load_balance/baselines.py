"""Heuristics for load balancing. Those that are told nothing but cores are what is deployed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from marlserve.envs.base import Baseline, Policy
from marlserve.envs.load_balance.config import MAX_WEIGHT, MIN_WEIGHT, Config
from marlserve.envs.load_balance.observation import FEATURES

ByAgent = dict[str, np.ndarray]


def equal(config: Config) -> np.ndarray:
    """The same weight for every server, [M]."""
    return np.ones(config.num_servers)


def by_cores(config: Config) -> np.ndarray:
    """Weights in proportion to the cores, [M]."""
    return np.asarray(config.cores) * MAX_WEIGHT / max(config.cores)


def constant(weights: Callable[[Config], np.ndarray]) -> Callable[..., Policy]:
    """The same weights at every step."""

    def make(problem: Any) -> Policy:
        values = weights(problem.config).clip(MIN_WEIGHT).astype(np.float32)

        def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
            return {
                agent: np.broadcast_to(values, (len(seen), len(values)))
                for agent, seen in observations.items()
            }

        return act

    return make


def probing(problem: Any) -> Policy:
    """Weights by cores over probed jobs, cores / (jobs + 1), refreshed at every step.

    The active WCMP of Yao et al. 2022: probes tell the true number of busy workers.
    """
    cores = by_cores(problem.config)

    def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
        weights = cores / (problem.measured().probed_jobs + 1.0)  # [B, K, M]
        weights *= MAX_WEIGHT / weights.max(axis=-1, keepdims=True)
        values = weights.clip(MIN_WEIGHT).astype(np.float32)
        return {agent: values[:, k] for k, agent in enumerate(problem.agents)}

    return act


def adapting(problem: Any) -> Policy:
    """Weights by cores over the time that own flows take, cores / (0.1 s + discounted mean).

    So a server that became slow is spared before it is full. The mean is of all durations, those of
    flows in progress included; of 0.02, 0.05, 0.1 and 0.2 s and of completed flows alone, this was
    the fastest over the presets' training traffic.
    """
    cores, column = by_cores(problem.config), FEATURES.index("duration_discounted_mean")

    def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
        return {
            # The observation shows t seconds as t / (t + 0.1).
            agent: (cores * (1.0 - seen[..., column])).clip(MIN_WEIGHT).astype(np.float32)
            for agent, seen in observations.items()
        }

    return act


def _under(dispatch: str) -> Callable[[Config], Config]:
    """The problem with this rule of dispatch, and real weights."""
    return lambda config: replace(config, dispatch=dispatch, action="weights")


_SED, _GLOBAL = _under("shortest_expected_delay"), _under("global_shortest_expected_delay")
_RANDOM = _under("weighted_random")

BASELINES = {
    "random": Baseline(constant(equal), _RANDOM),  # ECMP
    "round_robin": Baseline(constant(equal), _under("round_robin")),
    "wcmp": Baseline(constant(by_cores), _RANDOM),
    "adaptive_wcmp": Baseline(probing, _RANDOM),
    "power_of_two": Baseline(constant(equal), _under("power_of_two")),
    "lsq": Baseline(constant(equal), _SED),  # local shortest queue
    "sed": Baseline(constant(by_cores), _SED),
    "adaptive_sed": Baseline(adapting, _SED),
    "join_shortest_queue": Baseline(constant(equal), _GLOBAL, oracle=True),
    "global_sed": Baseline(constant(by_cores), _GLOBAL, oracle=True),
}
