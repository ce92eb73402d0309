"""Heuristics for the KV cache, from a constant to the rule that an operator would write."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from marlserve.envs.base import Baseline, Policy
from marlserve.envs.kv_cache import rewards
from marlserve.envs.kv_cache.config import Config
from marlserve.envs.kv_cache.oracle import oracle

Choice = Callable[..., np.ndarray]  # problem -> indices of its action_names, [B]

# The source system's rule: below this price, $/MWh, this configuration.
_PRICE_RULE = ((20.0, "fullkv"), (40.0, "snapkv_1024"), (60.0, "snapkv_256"))
_ELSE = "snapkv_64"
_DENY_WAITING_PER_SERVER = 0.12  # its smart_deny: more than 24 of 200
_BUSY = 0.97
# Of the rule that also denies: the best profit in a search over both on the training stretches.
_TUNED_BUSY, _TUNED_WAITING_PER_SERVER = 0.8, 0.3


def decides(choice: Choice) -> Callable[..., Policy]:
    """A policy that asks `choice`, which reads the problem, at every step."""

    def make(problem) -> Policy:
        def act(observations):
            chosen = choice(problem)
            lead = observations["operator"].shape[:-1]
            return {"operator": chosen.astype(np.int64).reshape(lead)}

        return act

    return make


def constant(problem, config: str) -> np.ndarray:
    """Always the same."""
    return np.full(problem.num_envs, problem.action_names.index(config))


def random(problem) -> Policy:
    """Any action, denial included where it is enabled; drawn alike for each batch of episodes."""
    rng, count = np.random.default_rng(0), len(problem.action_names)

    def act(observations):
        return {"operator": rng.integers(count, size=observations["operator"].shape[:-1])}

    return act


def price_rule(problem) -> np.ndarray:
    """The source system's: compress the more, the dearer electricity is."""
    chosen = constant(problem, _ELSE)
    for price, config in reversed(_PRICE_RULE):
        chosen[problem.price < price] = problem.action_names.index(config)
    return chosen


def smart_deny(problem) -> np.ndarray:
    """The source system's: deny while many wait, else its price rule."""
    crowded = problem.pool.copies["waiting"] > _DENY_WAITING_PER_SERVER * problem.config.num_servers
    return np.where(crowded, problem.action_names.index("deny"), price_rule(problem))


def tuned_price(problem) -> np.ndarray:
    """The best configuration for the price, if nothing waits."""
    return rewards.expected(problem, problem.price).argmax(axis=-1)


def load_aware(problem, busy: float = _BUSY) -> np.ndarray:
    """`tuned_price`, but the strongest compression while anything waits or nearly all is busy."""
    state = problem.pool.copies
    full = (state["waiting"] > 0) | (state["busy"] > busy * problem.config.num_servers)
    return np.where(full, 0, tuned_price(problem))


def load_aware_deny(problem) -> np.ndarray:
    """`load_aware` with tuned thresholds, and denial while many wait."""
    crowd = _TUNED_WAITING_PER_SERVER * problem.config.num_servers
    crowded = problem.pool.copies["waiting"] > crowd
    compressing = load_aware(problem, _TUNED_BUSY)
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
    "load_aware": Baseline(decides(load_aware), _discrete),
    "load_aware_deny": Baseline(decides(load_aware_deny), _with_deny),
    "oracle": Baseline(oracle, _discrete, oracle=True),
}
