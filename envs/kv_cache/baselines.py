"""Heuristics for the KV cache, from a constant to the rule that an operator would write."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from marlserve.envs.base import Baseline, Policy
from marlserve.envs.kv_cache import rewards
from marlserve.envs.kv_cache.config import Config
from marlserve.envs.kv_cache.oracle import oracle

ByAgent = dict[str, np.ndarray]
Choice = Callable[..., np.ndarray]  # problem -> indices of its action_names, [B]

# The source system's rule: below this price, $/MWh, this configuration.
_PRICE_RULE = ((20.0, "fullkv"), (40.0, "snapkv_1024"), (60.0, "snapkv_256"))
_ELSE = "snapkv_64"
_DENY_WAITING_PER_SERVER = 0.12  # its smart_deny: more than 24 of 200
_BUSY = 0.97
# Of the rules that also deny: the best profit in a search over both on the training stretches.
_TUNED_BUSY, _TUNED_WAITING_PER_SERVER = 0.8, 0.3
_TUNED_LOAD, _TUNED_WAITING_BY_RATE = 1.2, 0.26


def decides(choice: Choice) -> Callable[..., Policy]:
    """A policy that asks `choice`, which reads what the problem measures, at every step."""

    def make(problem: Any) -> Policy:
        def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
            return {"operator": choice(problem).astype(np.int64)}

        return act

    return make


def constant(problem: Any, config: str) -> np.ndarray:
    """Always the same."""
    return np.full(problem.num_envs, problem.action_names.index(config))


def random(problem: Any) -> Policy:
    """Any action, denial included where it is enabled; drawn alike for each batch of episodes."""
    rng, count = np.random.default_rng(0), len(problem.action_names)

    def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
        return {"operator": rng.integers(count, size=len(observations["operator"]))}

    return act


def price_rule(problem: Any) -> np.ndarray:
    """The source system's: compress the more, the dearer electricity is."""
    chosen, usd_per_mwh = constant(problem, _ELSE), problem.measured().usd_per_mwh
    for price, config in reversed(_PRICE_RULE):
        chosen[usd_per_mwh < price] = problem.action_names.index(config)
    return chosen


def smart_deny(problem: Any) -> np.ndarray:
    """The source system's: deny while many wait, else its price rule."""
    crowd = _DENY_WAITING_PER_SERVER * problem.config.num_servers
    crowded = problem.measured().waiting_requests > crowd
    return np.where(crowded, problem.action_names.index("deny"), price_rule(problem))


def tuned_price(problem: Any) -> np.ndarray:
    """The best configuration for the price, if nothing waits."""
    return rewards.expected(problem, problem.measured().usd_per_mwh).argmax(axis=-1)


def tuned_price_deny(
    problem: Any, waiting_per_server: float = _DENY_WAITING_PER_SERVER
) -> np.ndarray:
    """Deny while many wait, else `tuned_price`: nothing is compressed because of the load."""
    crowded = problem.measured().waiting_requests > waiting_per_server * problem.config.num_servers
    return np.where(crowded, problem.action_names.index("deny"), tuned_price(problem))


def load_aware(problem: Any, busy: float = _BUSY) -> np.ndarray:
    """`tuned_price`, but the strongest compression while anything waits or nearly all is busy."""
    measured = problem.measured()
    crowd = busy * problem.config.num_servers
    full = (measured.waiting_requests > 0) | (measured.busy_servers > crowd)
    return np.where(full, 0, tuned_price(problem))


def load_aware_deny(
    problem: Any,
    busy: float = _TUNED_BUSY,
    waiting_per_server: float = _TUNED_WAITING_PER_SERVER,
) -> np.ndarray:
    """`load_aware` with tuned thresholds, and denial while many wait."""
    crowded = problem.measured().waiting_requests > waiting_per_server * problem.config.num_servers
    compressing = load_aware(problem, busy)
    return np.where(crowded, problem.action_names.index("deny"), compressing)


def rate_aware_deny(
    problem: Any, load: float = _TUNED_LOAD, waiting_per_server: float = _TUNED_WAITING_BY_RATE
) -> np.ndarray:
    """Deny while many wait; else `tuned_price`, but the strongest compression while more requests
    arrive than `load` times what the servers can carry at the full cache."""
    measured, servers = problem.measured(), problem.config.num_servers
    arriving = measured.arrived_per_s * problem.profile.service_s[-1].mean() / servers
    compressing = np.where(arriving > load, 0, tuned_price(problem))
    crowded = measured.waiting_requests > waiting_per_server * servers
    return np.where(crowded, problem.action_names.index("deny"), compressing)


def _discrete(config: Config) -> Config:
    return replace(config, action="discrete")


def _with_deny(config: Config) -> Config:
    return replace(config, action="discrete", enable_deny=True)


CONSTANTS = ("snapkv_64", "snapkv_128", "snapkv_256", "snapkv_512", "snapkv_1024", "fullkv")
BASELINES = {
    **{name: Baseline(decides(partial(constant, config=name)), _discrete) for name in CONSTANTS},
    "random": Baseline(random, _discrete),
    "price_rule": Baseline(decides(price_rule), _discrete),
    "smart_deny": Baseline(decides(smart_deny), _with_deny),
    "tuned_price": Baseline(decides(tuned_price), _discrete),
    "tuned_price_deny": Baseline(decides(tuned_price_deny), _with_deny),
    "load_aware": Baseline(decides(load_aware), _discrete),
    "load_aware_deny": Baseline(decides(load_aware_deny), _with_deny),
    "rate_aware_deny": Baseline(decides(rate_aware_deny), _with_deny),
    "oracle": Baseline(oracle, _discrete, oracle=True),
}
