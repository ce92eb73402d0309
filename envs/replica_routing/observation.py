"""What a gateway sees of the replicas and of the request that it has to send.

    observe(measured, config)  # [..., R, F] float32

`Measured` holds plain numbers in physical units, which a simulated gateway and one in service both
have: nothing here knows the simulator. In the observation a value x is shown as x / (x + scale):
bounded, and finest where most values lie.
"""

from typing import NamedTuple

import numpy as np

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
    "request_prompt_tokens": 10_000.0,  # from here on the same for all replicas
    "request_output_tokens": 200.0,  # as predicted; 0 where nothing is
    "has_request": 0.0,
    "agent_index": 0.0,  # g / G
}
FEATURES = tuple(_SCALES)
_BY_FEATURE = np.array(list(_SCALES.values()), np.float32)


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


def observe(measured: Measured, config) -> np.ndarray:
    """The observations, [..., R, F] float32, by `FEATURES`."""
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
    seen = np.empty((*matched.shape, len(FEATURES)), np.float32)
    for i, name in enumerate(FEATURES):
        seen[..., i] = columns[name]
    bounded = _BY_FEATURE > 0
    seen[..., bounded] /= seen[..., bounded] + _BY_FEATURE[bounded]
    return seen
