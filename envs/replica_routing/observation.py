"""What a gateway sees of the replicas and of the request that it has to send.

    observe(measured, config)  # [..., R, F] float32

`Measured` holds plain numbers in physical units, which a simulated gateway and one in service both
have: nothing here knows the simulator. In the observation a value x is shown as x / (x + scale):
bounded, and finest where most values lie.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from marlserve.envs.replica_routing import source

# Columns of the observation, per replica, and the scale on which each is shown; 0: as it is.
_SCALES = {
    "requests": 16.0,  # own ones in flight
    "unanswered": 2.0,  # of those, without a first token yet
    "prompt_tokens": 150_000.0,  # of own requests in flight
    "generated_tokens": 4_000.0,  # of the same, so far
    "new_tokens": 15_000.0,  # of own unanswered requests, without what should be cached
    "ttft_s": 0.5,  # of own requests, recently
    "tpot_s": 0.03,
    "running": 16.0,  # as last scraped
    "waiting": 2.0,
    "kv_usage": 0.0,
    "scrape_age_s": 1.0,
    "up": 0.0,
    "speed": 0.0,  # over the fastest one's; 0 where it is not told
    "matched_share": 0.0,  # of the request's prompt, that should be cached there
    "missing_tokens": 10_000.0,  # of its prompt, that should not
    "home": 0.0,  # whether its session's latest request went there
    "wait_s": 0.5,  # from here on what the engine's timing makes of these: see `Estimates`
    "token_s": 0.03,
    "delay_s": 5.0,
    "drag_s": 0.05,
    "extra_s": 1.0,  # that all this costs more than at the cheapest: see `marginal_cost_s`
    "request_prompt_tokens": 10_000.0,  # from here on the same for all replicas
    "request_output_tokens": 200.0,  # as predicted; 0 where nothing is
    "has_request": 0.0,
    "agent_index": 0.0,  # g / G
}
_OF_COSTS = ("extra_s",)  # seen in the view "costs" alone
FEATURES = tuple(name for name in _SCALES if name not in _OF_COSTS)


def features(config) -> tuple[str, ...]:
    """The F names of what is seen of each replica, in order; in the view "source" of all."""
    if config.view == "source":
        return tuple(name for name, _ in source.features(config.num_replicas))
    return tuple(_SCALES) if config.view == "costs" else FEATURES


class Measured(NamedTuple):
    """Of R replicas, by one gateway; leading axes as many as there are, such as copies, gateways.

    Times are in seconds. Means of latencies are of own requests, the newest with weight 0.1.
    """

    requests: np.ndarray  # own ones in flight, [..., R]
    unanswered: np.ndarray  # of those, without a first token yet, [..., R]
    prompt_tokens: np.ndarray  # of own requests in flight, [..., R]
    generated_tokens: np.ndarray  # of the same, so far, [..., R]
    new_tokens: np.ndarray  # of own unanswered ones, without what should be cached, [..., R]
    ttft_s: np.ndarray  # mean time to first token, [..., R]
    tpot_s: np.ndarray  # mean time per output token after the first, [..., R]
    running: np.ndarray  # everybody's requests that run, as last scraped, [..., R]
    waiting: np.ndarray  # and that wait, [..., R]
    kv_usage: np.ndarray  # share of the cache in use, as last scraped, [..., R]
    scrape_age_s: np.ndarray  # [...]
    up: np.ndarray  # as last scraped, and the request fits into its cache, [..., R]
    speed: np.ndarray  # that is told, 0 where none is, [..., R]
    matched_tokens: np.ndarray  # of the request's prompt, that should be cached, [..., R]
    home: np.ndarray  # where its session's latest request went, -1: nowhere, [...]
    request_prompt_tokens: np.ndarray  # 0: there is no request now, [...]
    request_output_tokens: np.ndarray  # as predicted, 0: not, [...]
    gateway: np.ndarray  # which of the G gateways it is, [...]


class Estimates(NamedTuple):
    """What it means if the request goes to a replica, by the engine's timing, [..., R].

    The replica is taken to be of the speed that is told, or of speed 1, and to hold what the
    gateway itself sent there and no more.
    """

    wait_s: np.ndarray  # until its first token: for the prompts before it, and its own
    token_s: np.ndarray  # each further token takes
    delay_s: np.ndarray  # that its prompt costs all companions together
    drag_s: np.ndarray  # that its context costs them together with each token


def estimates(measured: Measured, config) -> Estimates:
    """From what a gateway measures."""
    lines = config.lines
    speed = np.asarray(measured.speed)
    speed = np.where(speed > 0, speed, 1.0)
    per_new_s = lines.per_new_s / speed
    per_context_s = lines.per_context_s / speed
    prompt = np.asarray(measured.request_prompt_tokens)[..., None]
    missing = prompt - measured.matched_tokens
    context = np.asarray(measured.prompt_tokens) + measured.generated_tokens + prompt
    return Estimates(
        wait_s=lines.prefill_s / speed + per_new_s * (measured.new_tokens + missing),
        token_s=lines.decode_s / speed + per_context_s * context,
        delay_s=measured.requests * per_new_s * missing,
        drag_s=measured.requests * per_context_s * prompt,
    )


def marginal_cost_s(
    measured: Measured, config, companions: float = 1.5, output_tokens: float = 335.0
) -> np.ndarray:
    """Seconds until the request ends if it goes there, plus `companions` times those by which it
    delays the others: they wait for its prompt to be computed, and each of their tokens takes
    longer for its context, as long as both are there. [..., R]

    By `estimates`, and `output_tokens` for every request whose output nobody predicts; half of them
    are taken to be left of the others'. The defaults were the best of 20 on training traffic of
    MIXED, for the sum of both mean times.
    """
    about = estimates(measured, config)
    predicted = np.asarray(measured.request_output_tokens)[..., None]
    output = np.where(predicted > 0, predicted, output_tokens)
    both = np.minimum(output, output_tokens / 2)
    own_s = about.wait_s + output * about.token_s
    return own_s + companions * (about.delay_s + both * about.drag_s)


def estimated_speed(tpot_s: np.ndarray) -> np.ndarray:
    """How fast replicas seem: the inverse of own requests' recent times per token, over all
    replicas that have had some, [..., R]; 1 where there was none, 0.1 to 10."""
    known = np.where(tpot_s > 0, tpot_s, 0.0)
    typical = known.sum(axis=-1, keepdims=True) / np.maximum(
        (known > 0).sum(axis=-1, keepdims=True), 1
    )
    return np.clip(np.where(known > 0, typical / np.maximum(known, 1e-12), 1.0), 0.1, 10.0)


def some_or_all(chosen: np.ndarray) -> np.ndarray:
    """The same replicas, [..., R] bool, or all of them where there is none."""
    return chosen | ~chosen.any(axis=-1, keepdims=True)


def _extra_s(measured: Measured, config) -> np.ndarray:
    """Over the cheapest of those that are up, of all if none is; what is cheaper than that, and
    down, has 0. Where no speed is told, with the one that is estimated."""
    told = np.asarray(measured.speed)
    speed = np.where(told > 0, told, estimated_speed(np.asarray(measured.tpot_s)))
    cost_s = marginal_cost_s(measured._replace(speed=speed), config)
    up = some_or_all(np.asarray(measured.up) > 0)
    least_s = np.where(up, cost_s, np.inf).min(axis=-1, keepdims=True)
    return np.maximum(cost_s - least_s, 0.0)


def observe(measured: Measured, config) -> np.ndarray:
    """The observations, [..., R, F] float32, by `features`."""
    names = features(config)
    prompt = np.asarray(measured.request_prompt_tokens)[..., None]
    matched = np.asarray(measured.matched_tokens)
    places = np.arange(matched.shape[-1])
    columns = {
        **{name: getattr(measured, name) for name in Measured._fields if name in _SCALES},
        **estimates(measured, config)._asdict(),
        "scrape_age_s": np.asarray(measured.scrape_age_s)[..., None],
        "speed": np.asarray(measured.speed) / max(config.rates),
        "matched_share": matched / np.maximum(prompt, 1),
        "missing_tokens": prompt - matched,
        "home": np.asarray(measured.home)[..., None] == places,
        "request_prompt_tokens": prompt,
        "request_output_tokens": np.asarray(measured.request_output_tokens)[..., None],
        "has_request": prompt > 0,
        "agent_index": np.asarray(measured.gateway)[..., None] / config.num_gateways,
    }
    if "extra_s" in names:
        columns["extra_s"] = _extra_s(measured, config)
    seen = np.empty((*matched.shape, len(names)), np.float32)
    for i, name in enumerate(names):
        seen[..., i] = columns[name]
    bounded, scales = _bounded(names)
    seen[..., bounded] /= seen[..., bounded] + scales
    return seen


@cache
def _bounded(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Which of them have a scale, and these scales."""
    scales = np.array([_SCALES[name] for name in names], np.float32)
    return scales > 0, scales[scales > 0]
