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
    rate is the phase's load. Windows are numbered by whole lengths from the start of their
    recording: those of one number overlap. An episode has the number of its first phase's.

    Raises:
        ValueError: if a recording is too short.
    """
    lengths_s = _lengths_s(config, rng)
    several = len(config.traffic) > 1
    chosen = [int(rng.integers(len(config.traffic))) if several else 0 for _ in lengths_s]
    phases = [
        _phase(config, rng, one, length_s) for one, length_s in zip(chosen, lengths_s, strict=True)
    ]
    windows, numbers = zip(*phases, strict=True)
    return windows[0] if len(windows) == 1 else joined(windows, chosen), numbers[0]


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


def _phase(
    config: Config, rng: np.random.Generator, one: int, length_s: float
) -> tuple[LLMRequests, int]:
    """A window of the recording of one setting, and its number."""
    setting, sustainable_per_s = config.traffic[one], config.sustainable_per_s[one]
    every = recording(config.trace, setting, config.trace_path, config.split)
    speedup = rng.uniform(*config.load) * sustainable_per_s / every.rate_per_s
    recorded_s = length_s * speedup
    if every.duration_s < recorded_s:
        raise ValueError(
            f"with load {config.load}, sustainable_per_s {sustainable_per_s}, warm_up_s "
            f"{config.warm_up_s} and episode_s {config.episode_s} an episode takes {recorded_s:.3g}"
            f" s of the recording; it lasts {every.duration_s:.3g} s"
        )
    start_s = rng.uniform(every.start_s, every.end_s - recorded_s)
    window = cast(LLMRequests, every.window(start_s, recorded_s)).sped_up(speedup)
    return window, int((start_s - every.start_s) // recorded_s)
