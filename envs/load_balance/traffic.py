"""What happens to the cluster in one episode: arrivals, and servers that slow down and recover."""

from functools import lru_cache

import numpy as np

from marlserve import traces
from marlserve.envs.load_balance.config import Config
from marlserve.traces import wikipedia

_HOUR_S = 3600.0
_WEEK = np.arange(7 * 24)
_HOURS = {"train": _WEEK[1::2], "test": _WEEK[::2], "all": _WEEK}


def arrivals(config: Config, rng: np.random.Generator, load: float) -> tuple[traces.Trace, float]:
    """The jobs of one episode, and the rate per second that is expected of them.

    The rate is such that the expected work per second is `load` of all cores. "wikipedia" has its
    window in an odd hour of the week for split="train", in an even one for "test" (as Yao et al.
    2022); "flows" has it in the first or the second half of the file.

    Raises:
        ValueError: if the file is too short for an episode at this rate.
    """
    offered_cores = load * sum(config.cores)
    if config.trace == "wikipedia":
        rate_per_s = offered_cores / wikipedia.MEAN_WORK_S
        start_s = _HOUR_S * rng.choice(_HOURS[config.split]) + rng.uniform(
            0.0, _HOUR_S - config.episode_s
        )
        shape = float(wikipedia.shape(start_s + config.episode_s / 2))
        options = {"start_s": start_s, "mean_rate_per_s": rate_per_s / shape}
    elif config.trace in ("poisson", "bursts"):
        rate_per_s = offered_cores / config.mean_work_s
        options = {"rate_per_s": rate_per_s, "mean_work_s": config.mean_work_s}
    else:
        recording = _recording(config.trace_path, config.split)
        rate_per_s = offered_cores / (recording.offered_load / recording.rate_per_s)
        return recording.at_rate(rate_per_s).random_window(rng, config.episode_s), rate_per_s
    return traces.load(config.trace, rng, duration_s=config.episode_s, **options), rate_per_s


def slowdowns(config: Config, rng: np.random.Generator) -> list[tuple[float, int, float]]:
    """(time_s, server, speed) of every change, sorted: `slow_servers` slots, each now and then
    holding a server that no other slot holds."""
    changes = []
    slow_until_s = np.zeros(config.num_servers)
    slots_s = list(rng.uniform(0.0, config.slow_gap_s, config.slow_servers))
    while slots_s and (start_s := min(slots_s)) < config.episode_s:
        server = int(rng.choice(np.flatnonzero(slow_until_s <= start_s)))
        end_s = start_s + rng.uniform(*config.slow_s)
        changes += [(start_s, server, config.slow_factor), (end_s, server, 1.0)]
        slow_until_s[server] = end_s
        slots_s[slots_s.index(start_s)] = end_s + rng.uniform(0.0, config.slow_gap_s)
    # Stable: a server that recovers and is slow again at the same instant stays slow.
    return sorted(changes, key=lambda change: change[0])


@lru_cache(maxsize=8)
def _recording(path: str, split: str) -> traces.Trace:
    whole = traces.load("flows", path=path)
    half_s = whole.start_s + whole.duration_s / 2
    if split == "all":
        return whole
    return whole.window(whole.start_s if split == "train" else half_s, whole.duration_s / 2)
