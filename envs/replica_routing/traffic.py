"""The requests of an episode: a window of a long recording, drawn or read once per split."""

from functools import lru_cache
from typing import cast

import numpy as np

from marlserve.envs.replica_routing.config import Config
from marlserve.traces import conversations, llm_requests
from marlserve.traces.llm_requests import LLMRequests

_DRAWN_S = 4 * 3600.0  # of conversations
_SEEDS = {"train": 1, "test": 2}  # of conversations: no episode of one split is in the other


@lru_cache(maxsize=4)
def recording(trace: str, setting: str, path: str, split: str) -> LLMRequests:
    """All that episodes of this split are windows of.

    Raises:
        ValueError: for a file that is not of a known form, or has no prompt of at least one token.
    """
    if trace == "conversations":
        rng = np.random.default_rng(_SEEDS[split])
        return conversations.load(rng, config=conversations.PRESETS[setting], duration_s=_DRAWN_S)
    return llm_requests.load(path=path).split(0.5)[split == "test"]


def episode(config: Config, rng: np.random.Generator) -> tuple[LLMRequests, int]:
    """The requests of one episode with its warm-up, from time 0 on, and the number of its window.

    The recording is sped up until its mean rate is the episode's load, and a window of it is drawn.
    Windows are numbered by whole lengths from the start: those of one number overlap.

    Raises:
        ValueError: if the recording is too short.
    """
    every = recording(config.trace, config.setting, config.trace_path, config.split)
    speedup = rng.uniform(*config.load) * config.sustainable_per_s / every.rate_per_s
    length_s = (config.warm_up_s + config.episode_s) * speedup
    if every.duration_s < length_s:
        raise ValueError(
            f"with load {config.load}, sustainable_per_s {config.sustainable_per_s}, warm_up_s "
            f"{config.warm_up_s} and episode_s {config.episode_s} an episode takes {length_s:.3g} "
            f"s of the recording; it lasts {every.duration_s:.3g} s"
        )
    start_s = rng.uniform(every.start_s, every.end_s - length_s)
    window = cast(LLMRequests, every.window(start_s, length_s))
    return window.sped_up(speedup), int((start_s - every.start_s) // length_s)
