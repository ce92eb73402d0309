"""The requests of an episode: a window of a long recording, drawn or read once per split."""

from functools import lru_cache
from typing import cast

import numpy as np

from marlserve.envs.replica_routing.config import Config
from marlserve.traces import conversations, llm_requests
from marlserve.traces.llm_requests import LLMRequests, joined

_DRAWN_S = 4 * 3600.0  # of conversations
_SEEDS = {"train": 1, "test": 2}  # of conversations: no episode of one split is in the other


@lru_cache(maxsize=8)
def recording(trace: str, setting: str, path: str, split: str) -> LLMRequests:
    """All that episodes of this split are windows of.

    Raises:
        ValueError: for a file that is not of a known form, or has no prompt of at least one token.
    """
    if trace == "conversations":
        rng = np.random.default_rng(_SEEDS[split])
        return conversations.load(rng, config=conversations.PRESETS[setting], duration_s=_DRAWN_S)
    return llm_requests.load(path=path).split(0.5)[split == "test"]


def recordings(config: Config) -> list[LLMRequests]:
    """Of each setting.

    Raises:
        ValueError: as `recording`, and if their blocks differ in size.
    """
    every = [
        recording(config.trace, setting, config.trace_path, config.split)
        for setting in config.traffic
    ]
    if len({one.block_tokens for one in every}) > 1:
        raise ValueError(
            f"traffic {config.traffic} has blocks of {[one.block_tokens for one in every]} "
            "tokens; expected those of one size"
        )
    return every


def episode(config: Config, rng: np.random.Generator) -> tuple[LLMRequests, int]:
    """The requests of one episode with its warm-up, from time 0 on, and the number of its window.

    It is one phase after the other, each a window of a recording that is sped up until its mean
    rate is the phase's load; phases of the same traffic go on where the one before ended. Windows
    are numbered by the length of an episode at the mean load, each kind of traffic from another
    million on; an episode has the number of its first phase.

    Raises:
        ValueError: if a recording is too short.
    """
    every = recordings(config)
    phases = []  # kind of traffic, seconds of its recording, speed-up
    for length_s in _lengths_s(config, rng):
        kind = int(rng.integers(len(every))) if len(every) > 1 else 0
        speedup = rng.uniform(*config.load) * _at_load_1(config, every, kind)
        phases.append((kind, length_s * speedup, speedup))
    now_s = {}  # in each recording
    for kind in dict.fromkeys(kind for kind, *_ in phases):
        needed_s = sum(recorded_s for other, recorded_s, _ in phases if other == kind)
        now_s[kind] = _start_s(config, every[kind], needed_s, rng)
    first = phases[0][0]
    whole_s = (config.warm_up_s + config.episode_s) * float(np.mean(config.load))
    whole_s *= _at_load_1(config, every, first)
    number = int((now_s[first] - every[first].start_s) // whole_s) + 10**6 * first
    windows = []
    for kind, recorded_s, speedup in phases:
        start_s = min(now_s[kind], every[kind].end_s - recorded_s)  # by rounding
        window = cast(LLMRequests, every[kind].window(start_s, recorded_s))
        windows.append(window.sped_up(speedup))
        now_s[kind] += recorded_s
    if len(windows) == 1:
        return windows[0], number
    return joined(windows, [kind for kind, *_ in phases]), number


def _lengths_s(config: Config, rng: np.random.Generator) -> list[float]:
    """Of the phases, uniform within half of their mean; the last one is what is left."""
    left_s, found = config.warm_up_s + config.episode_s, []
    while config.phase_s > 0:
        length_s = rng.uniform(0.5, 1.5) * config.phase_s
        if length_s >= left_s:
            break
        found.append(length_s)
        left_s -= length_s
    return [*found, left_s]


def _at_load_1(config: Config, every: list[LLMRequests], kind: int) -> float:
    """How many times faster than it was recorded."""
    return config.sustainable_per_s[kind] / every[kind].rate_per_s


def _start_s(
    config: Config, recorded: LLMRequests, needed_s: float, rng: np.random.Generator
) -> float:
    """Anywhere in a recording, so that so much of it is left."""
    if recorded.duration_s < needed_s:
        raise ValueError(
            f"with load {config.load}, sustainable_per_s {config.sustainable_per_s}, warm_up_s "
            f"{config.warm_up_s} and episode_s {config.episode_s} an episode takes {needed_s:.3g} "
            f"s of a recording; it lasts {recorded.duration_s:.3g} s"
        )
    return float(rng.uniform(recorded.start_s, recorded.end_s - needed_s))
