"""Policies that need no training: `rules`, what is random, and oracles, which ask the simulator.

Of replicas with the same lowest score the next in turn gets the request.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from marlserve.envs.base import Baseline, Policy
from marlserve.envs.replica_routing import rules
from marlserve.envs.replica_routing.config import Config
from marlserve.envs.replica_routing.observation import Measured, estimated_speed
from marlserve.envs.replica_routing.predictor import LatencyPredictor
from marlserve.envs.replica_routing.rules import Rule

ByAgent = dict[str, np.ndarray]
_DOWN = 1e12  # more than any score of one that is up


def adaptive(rule: Rule) -> Rule:
    """The rule with speeds that the gateway estimates: the inverse of recent times per token."""

    def scores(seen: Measured, config: Config) -> np.ndarray:
        return rule(seen._replace(speed=estimated_speed(seen.tpot_s)), config)

    return scores


def ruled(rule: Rule, problem) -> Policy:
    """What sends each request to the replica with the lowest score.

    Each gateway has turns of its own, and gateway g begins with replica g.
    """
    places, agents = np.arange(problem.config.num_replicas), np.arange(len(problem.agents))
    turn = np.tile(agents, (problem.num_envs, 1))  # [B, G]

    def act(observations: ByAgent, masks: ByAgent | None = None) -> ByAgent:
        nonlocal turn
        seen = problem.measured()
        scores = np.where(seen.up > 0, rule(seen, problem.config), _DOWN)
        tied = scores <= scores.min(axis=-1, keepdims=True)
        next_first = (places - turn[..., None]) % len(places)
        chosen = np.where(tied, next_first, len(places)).argmin(axis=-1)
        turn = turn + (seen.request_prompt_tokens > 0)
        return {agent: chosen[:, i] for i, agent in enumerate(problem.agents)}

    return act


def at_random(problem) -> Policy:
    """Any replica that is up."""
    rng = np.random.default_rng(0)
    return ruled(lambda seen, config: rng.random(seen.requests.shape), problem)


def power_of_two(problem) -> Policy:
    """The one of two replicas at random that has fewer own requests: Ray Serve's default."""
    rng = np.random.default_rng(0)

    def rule(seen: Measured, config: Config) -> np.ndarray:
        rank = rng.random(seen.requests.shape).argsort(axis=-1)
        return np.where(rank < 2, rules.least_requests(seen, config), _DOWN / 2)

    return ruled(rule, problem)


def learning(made: Callable[[Any], Rule]) -> Callable[[Any], Policy]:
    """What plays a rule that is made anew for a Problem, whose outcomes it learns from."""
    return lambda problem: ruled(made(problem), problem)


def foreseeing(problem, companions: float) -> Policy:
    """The replica where the request ends first, plus `companions` times what others lose: foreseen
    from the true state and the true number of output tokens, if no more requests came."""

    def rule(seen: Measured, config: Config) -> np.ndarray:
        own_s, all_s = problem.gateways.what_if(config.ttft_weight, config.e2e_weight)
        return own_s + companions * (all_s - own_s)

    return ruled(rule, problem)


_RULES = {
    "round_robin": lambda seen, config: np.zeros(seen.requests.shape),
    "least_requests": rules.least_requests,
    "least_connections": rules.least_connections,
    "least_tokens": rules.least_tokens,
    "session_affinity": rules.session_affinity,
    "prefix_affinity": rules.prefix_affinity,
    "cache_aware": rules.cache_aware,
    "scorers": rules.scorers,
    "size_split": rules.size_split,
    "kv_cost": rules.kv_cost,
    "marginal_cost": rules.marginal_cost,
    "adaptive_least_requests": adaptive(rules.least_requests),
    "adaptive_kv_cost": adaptive(rules.kv_cost),
    "adaptive_marginal_cost": adaptive(rules.marginal_cost),
}
BASELINES = {
    "random": Baseline(at_random),
    "power_of_two": Baseline(power_of_two),
    **{name: Baseline(partial(ruled, rule)) for name, rule in _RULES.items()},
    "latency_predictor": Baseline(learning(LatencyPredictor)),
    "shortest_expected_delay": Baseline(partial(foreseeing, companions=0.0), oracle=True),
    "least_marginal_cost": Baseline(partial(foreseeing, companions=1.0), oracle=True),
}
