"""Rules for routing. All but the oracles go by what a gateway measures, `observation.Measured`.

A rule is a function of these numbers and the Config to scores, [..., R]: the replica with the
lowest one gets the request, of tied ones the next in turn.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from marlserve.envs.base import Baseline, Policy
from marlserve.envs.replica_routing.config import Config
from marlserve.envs.replica_routing.observation import Measured, estimates

ByAgent = dict[str, np.ndarray]
Rule = Callable[[Measured, Config], np.ndarray]
_DOWN = 1e12  # more than any score of one that is up


def least_requests(seen: Measured, config: Config) -> np.ndarray:
    """Own requests in flight, over the replica's speed: what vLLM's production stack does."""
    return (seen.requests + 1) / _speed(seen)


def least_tokens(seen: Measured, config: Config) -> np.ndarray:
    """Prompt tokens of own requests in flight, over the replica's speed."""
    return (seen.prompt_tokens + seen.request_prompt_tokens[..., None]) / _speed(seen)


def session_affinity(seen: Measured, config: Config) -> np.ndarray:
    """Where the session's latest request went; the first one goes by fewest requests."""
    home = seen.home[..., None] == np.arange(seen.requests.shape[-1])
    return least_requests(seen, config) - 1e6 * home


def prefix_affinity(
    seen: Measured, config: Config, least_share: float = 0.5, imbalance: float = 4.0
) -> np.ndarray:
    """The longest matched prefix, if it is `least_share` of the prompt and the replica has at most
    `imbalance` more requests than the one with the fewest; else fewest requests.

    So do Preble's exploit and explore, and Ray Serve's prefix-aware router.
    """
    share = seen.matched_tokens / np.maximum(seen.request_prompt_tokens[..., None], 1)
    spare = seen.requests - seen.requests.min(axis=-1, keepdims=True) <= imbalance
    goes = (share >= least_share) & spare
    return least_requests(seen, config) - 1e6 * share * goes


def cache_aware(
    seen: Measured, config: Config, share: float = 0.3, absolute: float = 64, relative: float = 1.5
) -> np.ndarray:
    """SGLang's rule, with its defaults: fewest requests where the most are more than `absolute`
    above and `relative` times the fewest; else the longest matched prefix if it is more than
    `share` of the prompt; else the replica with the fewest prompt tokens in flight.
    """
    most, fewest = (f(seen.requests, axis=-1, keepdims=True) for f in (np.max, np.min))
    unequal = (most - fewest > absolute) & (most > relative * fewest)
    matched = seen.matched_tokens / np.maximum(seen.request_prompt_tokens[..., None], 1)
    matches = matched.max(axis=-1, keepdims=True) > share
    return np.where(unequal, seen.requests, np.where(matches, -matched, seen.prompt_tokens))


def kv_cost(seen: Measured, config: Config, prefill_weight: float = 1.0) -> np.ndarray:
    """After NVIDIA Dynamo's: blocks of prompts still to be computed there, this one's missing part
    included, plus blocks of own requests there, over the replica's speed. Dynamo counts blocks that
    requests share once, and has no speeds."""
    missing = seen.new_tokens + seen.request_prompt_tokens[..., None] - seen.matched_tokens
    held = seen.prompt_tokens + seen.request_prompt_tokens[..., None]
    return (prefill_weight * missing + held) / config.block_tokens / _speed(seen)


def marginal_cost(
    seen: Measured,
    config: Config,
    companions: float = 1.5,
    output_tokens: float = 335.0,
    speed_power: float = 1.0,
) -> np.ndarray:
    """Seconds until the request ends if it goes there, plus `companions` times those by which it
    delays the others: they wait for its prompt to be computed, and each of their tokens takes
    longer for its context, as long as both are there.

    By the engine's timing, what the gateway has there itself, and `output_tokens` for every
    request whose output nobody predicts; half of them are taken to be left of the others'. The
    defaults are the best of 20 on training traffic of MIXED.
    """
    seen = seen._replace(speed=_speed(seen) ** speed_power)
    about = estimates(seen, config)
    predicted = seen.request_output_tokens[..., None]
    output = np.where(predicted > 0, predicted, output_tokens)
    both = np.minimum(output, output_tokens / 2)
    own_s = about.wait_s + output * about.token_s
    return own_s + companions * (about.delay_s + both * about.drag_s)


def adaptive(rule: Rule) -> Rule:
    """The rule with speeds that the gateway estimates: the inverse of recent times per token."""

    def scores(seen: Measured, config: Config) -> np.ndarray:
        known = np.where(seen.tpot_s > 0, seen.tpot_s, np.nan)
        with np.errstate(all="ignore"):
            typical = np.nanmean(known, axis=-1, keepdims=True)
        speed = np.nan_to_num(typical / known, nan=1.0)
        return rule(seen._replace(speed=np.clip(speed, 0.1, 10.0)), config)

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
        return np.where(rank < 2, least_requests(seen, config), _DOWN / 2)

    return ruled(rule, problem)


def foreseeing(problem, companions: float) -> Policy:
    """The replica where the request ends first, plus `companions` times what others lose: foreseen
    from the true state and the true number of output tokens, if no more requests came."""

    def rule(seen: Measured, config: Config) -> np.ndarray:
        own_s, all_s = problem.gateways.what_if(config.ttft_weight, config.e2e_weight)
        return own_s + companions * (all_s - own_s)

    return ruled(rule, problem)


def _speed(seen: Measured) -> np.ndarray:
    """As told or estimated; 1 where nobody knows."""
    return np.where(seen.speed > 0, seen.speed, 1.0)


_RULES = {
    "round_robin": lambda seen, config: np.zeros(seen.requests.shape),
    "least_requests": least_requests,
    "least_tokens": least_tokens,
    "session_affinity": session_affinity,
    "prefix_affinity": prefix_affinity,
    "cache_aware": cache_aware,
    "kv_cost": kv_cost,
    "marginal_cost": marginal_cost,
    "adaptive_least_requests": adaptive(least_requests),
    "adaptive_kv_cost": adaptive(kv_cost),
    "adaptive_marginal_cost": adaptive(marginal_cost),
}
BASELINES = {
    "random": Baseline(at_random),
    "power_of_two": Baseline(power_of_two),
    **{name: Baseline(partial(ruled, rule)) for name, rule in _RULES.items()},
    "shortest_expected_delay": Baseline(partial(foreseeing, companions=0.0), oracle=True),
    "least_marginal_cost": Baseline(partial(foreseeing, companions=1.0), oracle=True),
}
