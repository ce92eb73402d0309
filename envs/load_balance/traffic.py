"""What happens to the cluster in one episode: arrivals, how fast its servers are, and which of them
slow down and recover."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from marlserve import traces
from marlserve.envs.load_balance.config import Config
from marlserve.envs.sims.arrivals import MOST_ARRIVALS
from marlserve.traces import bursts, wikipedia

_CHUNK = 8192  # so many arrivals are drawn at a time, or those of a step
_HOUR_S = 3600.0
_WEEK = np.arange(7 * 24)
_HOURS = {"train": _WEEK[1::2], "test": _WEEK[::2], "all": _WEEK}


class Traffic:
    """The jobs of one episode, drawn as its time goes on. The warm-up comes before 0.

    The rate is such that the expected work per second is `offered_cores`. "wikipedia" has its
    window in an odd hour of the week for split="train", in an even one for "test" (as Yao et al.
    2022); "flows" has it in the first or the second half of the file.

    Attributes:
        rate_per_s: expected.

    Raises:
        ValueError: if the file is too short for an episode at this rate, or has no work, or more
            flows than may arrive in a step.
    """

    def __init__(self, config: Config, rng: np.random.Generator, offered_cores: float):
        self._config, self._rng = config, rng
        self._step = -config.warm_up_steps  # up to which jobs are drawn
        self._begin_s = self._step * config.step_s
        length_s = config.num_steps * config.step_s - self._begin_s
        if config.trace == "flows":
            recording = _recording(config.trace_path, config.split)
            self.rate_per_s = _rate_per_s(config, recording, offered_cores)
            self._window = recording.at_rate(self.rate_per_s).random_window(rng, length_s)
            return
        self.rate_per_s = offered_cores / config.expected_work_s
        if config.trace == "wikipedia":
            within_s = rng.uniform(0.0, max(_HOUR_S - length_s, 0.0))
            self._start_s = _HOUR_S * rng.choice(_HOURS[config.split]) + within_s
            middle_s = self._start_s - self._begin_s + config.episode_s / 2
            self._mean_rate_per_s = self.rate_per_s / float(wikipedia.shape(middle_s))
        elif config.trace == "bursts":
            self._phase_ends_s = bursts.draw_phase_ends_s(rng, length_s)

    def draw(self) -> tuple[tuple[np.ndarray, ...], int]:
        """The next `jobs`, of as many steps as are convenient, and the step at which they end."""
        config, first = self._config, self._step
        ahead = max(int(_CHUNK / (self.rate_per_s * config.step_s)), 1)
        self._step = min(first + ahead, config.num_steps)
        return self.jobs(first * config.step_s, self._step * config.step_s), self._step

    def jobs(self, from_s: float, to_s: float) -> tuple[np.ndarray, ...]:
        """Times, work, balancers and draws of what arrives in [from_s, to_s), as for `Cluster.add`.

        The stretches of an episode follow on one another.
        """
        time_s, work_s = self._between(from_s - self._begin_s, to_s - self._begin_s)
        time_s = np.clip(self._begin_s + time_s, from_s, to_s)  # but for rounding, they are
        balancer = self._rng.random(len(time_s)) * self._config.num_balancers  # so alike for any K
        return time_s, work_s, balancer.astype(int), self._rng.random(len(time_s))

    def _between(self, from_s: float, to_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Times and work of a stretch, on a clock that begins with the traffic."""
        config = self._config
        if config.trace == "flows":
            jobs = self._window.between(from_s, min(to_s, self._window.end_s))
            return jobs.time_s, jobs["work_s"]
        if config.trace == "wikipedia":
            options = {"mean_rate_per_s": self._mean_rate_per_s, "start_s": self._start_s + from_s}
        else:
            options = {"rate_per_s": self.rate_per_s, "mean_work_s": config.mean_work_s}
        if config.trace == "bursts":
            options["phase_ends_s"] = self._phase_ends_s - from_s
        jobs = traces.load(config.trace, self._rng, duration_s=to_s - from_s, **options)
        return from_s + jobs.time_s, jobs["work_s"]


class Episode(NamedTuple):
    """What happens in one.

    Attributes:
        load: offered, over all cores at their speeds.
        speeds: of the servers, when nothing slows them down, [M].
        changes: as `slowdowns` gives them.
    """

    load: float
    speeds: np.ndarray
    traffic: Traffic
    changes: list[tuple[float, int, float]]


def episode(config: Config, rng: np.random.Generator) -> Episode:
    """Drawn; errors as of `Traffic`."""
    load = rng.uniform(*config.load)
    speeds = rng.choice(config.drawn_speeds, config.num_servers)  # of one speed, nothing is drawn
    # With a generator of its own: what is drawn next episode must not depend on how much of this
    # one is played.
    own = np.random.default_rng(rng.integers(2**63))
    arriving = Traffic(config, own, load * float(speeds @ np.asarray(config.cores)))
    return Episode(load, speeds, arriving, slowdowns(config, rng, speeds))


def slowdowns(
    config: Config, rng: np.random.Generator, speeds: np.ndarray
) -> list[tuple[float, int, float]]:
    """(time_s, server, speed) of every change, sorted: `slow_servers` slots, each now and then
    holding a server that no other slot holds. From the beginning of the warm-up on."""
    changes = []
    begin_s = -config.warm_up_steps * config.step_s
    gap_s = abs(config.slow_gap_s)  # to numpy, 0.0 to -0.0 is no range
    slow_until_s = np.full(config.num_servers, begin_s)
    slots_s = list(begin_s + rng.uniform(0.0, gap_s, config.slow_servers))
    while slots_s and (start_s := min(slots_s)) < config.episode_s:
        server = int(rng.choice(np.flatnonzero(slow_until_s <= start_s)))
        end_s = start_s + rng.uniform(*config.slow_s)
        speed = float(speeds[server])
        changes += [(start_s, server, config.slow_factor * speed), (end_s, server, speed)]
        slow_until_s[server] = end_s
        slots_s[slots_s.index(start_s)] = end_s + rng.uniform(0.0, gap_s)
    # Stable: a server that recovers and is slow again at the same instant stays slow.
    return sorted(changes, key=lambda change: change[0])


def _rate_per_s(config: Config, recording: traces.Trace, offered_cores: float) -> float:
    """At which a recording's work keeps so many cores of speed 1 busy."""
    if not recording.offered_load > 0.0:
        raise ValueError(f"trace_path is {config.trace_path!r}, whose flows have no work")
    mean_work_s = recording.offered_load / recording.rate_per_s
    rate_per_s = offered_cores / mean_work_s
    if rate_per_s * config.step_s > MOST_ARRIVALS:
        raise ValueError(
            f"trace_path is {config.trace_path!r}, with a mean work of {mean_work_s:g} s: work "
            f"for {offered_cores:g} cores is {rate_per_s * config.step_s:.3g} flows in "
            f"a step of {config.step_s} s; allowed are {MOST_ARRIVALS}"
        )
    return rate_per_s


@lru_cache(maxsize=8)
def _recording(path: str, split: str) -> traces.Trace:
    whole = traces.load("flows", path=path)
    half_s = whole.start_s + whole.duration_s / 2
    if split == "all":
        return whole
    return whole.window(whole.start_s if split == "train" else half_s, whole.duration_s / 2)
