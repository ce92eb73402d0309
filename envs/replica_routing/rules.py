"""Rules for routing that are formulas: of what a gateway measures, and of the Config.

Each gives scores, [..., R]; the replica with the lowest one gets the request. Speeds are those that
are told, or that `baselines.adaptive` estimates; where nobody knows them, they are 1.
"""

from collections.abc import Callable

import numpy as np

from marlserve.envs.replica_routing.config import Config
from marlserve.envs.replica_routing.observation import Measured, marginal_cost_s

Rule = Callable[[Measured, Config], np.ndarray]


def least_requests(seen: Measured, config: Config, speed_power: float = 1.0) -> np.ndarray:
    """Own requests in flight, over the replica's speed: what vLLM's production stack does."""
    return (seen.requests + 1) / _speed(seen) ** speed_power


def least_connections(seen: Measured, config: Config) -> np.ndarray:
    """Own requests in flight alone, whatever the speeds are."""
    return seen.requests


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
    share = _matched_share(seen)
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
    matched = _matched_share(seen)
    matches = matched.max(axis=-1, keepdims=True) > share
    return np.where(unequal, seen.requests, np.where(matches, -matched, seen.prompt_tokens))


def scorers(
    seen: Measured, config: Config, prefix: float = 3.0, queue: float = 2.0, cache: float = 2.0
) -> np.ndarray:
    """llm-d's weighted sum, with the weights that it ships with: the share of the prompt that
    should be cached, how short the queue is among all queues, and the share of the cache that is
    free; the last two as last scraped. It has no speeds."""
    least, most = (f(seen.waiting, axis=-1, keepdims=True) for f in (np.min, np.max))
    short = (most - seen.waiting + (most == least)) / np.maximum(most - least, 1)
    matched = _matched_share(seen)
    return -(prefix * matched + queue * short + cache * (1.0 - seen.kv_usage))


def size_split(seen: Measured, config: Config, long_tokens: float = 10_000.0) -> np.ndarray:
    """Prompts of more than `long_tokens` have the fastest replica, or the first of equal ones, to
    themselves, as long as it and another one are up: what is short never waits for what is long.
    Among the others, fewest requests."""
    speed = np.broadcast_to(_speed(seen), seen.requests.shape)
    apart = speed.argmax(axis=-1)[..., None] == np.arange(speed.shape[-1])
    is_long = seen.request_prompt_tokens[..., None] > long_tokens
    return least_requests(seen, config) + 1e6 * (apart != is_long)


def kv_cost(
    seen: Measured, config: Config, prefill_weight: float = 1.0, speed_power: float = 1.0
) -> np.ndarray:
    """After NVIDIA Dynamo's: blocks of prompts still to be computed there, this one's missing part
    included, plus blocks of own requests there, over the replica's speed. Dynamo counts blocks that
    requests share once, and has no speeds."""
    missing = seen.new_tokens + seen.request_prompt_tokens[..., None] - seen.matched_tokens
    held = seen.prompt_tokens + seen.request_prompt_tokens[..., None]
    return (prefill_weight * missing + held) / config.block_tokens / _speed(seen) ** speed_power


def marginal_cost(
    seen: Measured,
    config: Config,
    companions: float = 1.5,
    output_tokens: float = 335.0,
    speed_power: float = 1.0,
) -> np.ndarray:
    """`observation.marginal_cost_s`, with speeds to a power."""
    seen = seen._replace(speed=_speed(seen) ** speed_power)
    return marginal_cost_s(seen, config, companions, output_tokens)


def _matched_share(seen: Measured) -> np.ndarray:
    return seen.matched_tokens / np.maximum(seen.request_prompt_tokens[..., None], 1)


def _speed(seen: Measured) -> np.ndarray:
    return np.where(seen.speed > 0, seen.speed, 1.0)
