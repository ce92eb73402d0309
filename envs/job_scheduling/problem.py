"""B copies of the scheduling problem. The package's docstring is its manual."""

from collections.abc import Callable

import numpy as np
from gymnasium.spaces import Box, Discrete

from marlserve.envs import base
from marlserve.envs.job_scheduling import log, observation, picture
from marlserve.envs.job_scheduling.config import Config
from marlserve.envs.job_scheduling.observation import BY_SLOT, FEATURES, Measured
from marlserve.envs.job_scheduling.reference import Reference
from marlserve.envs.job_scheduling.rewards import REWARDS
from marlserve.envs.job_scheduling.rules import RULES, first
from marlserve.envs.sims.backfill import NONE, SHORTEST_S, Cluster


class Problem(base.Problem):
    """See `marlserve.envs.job_scheduling`.

    Attributes:
        log: of which episodes are parts.
        cluster: the simulator.
        reference: of the rule that a reward compares with, if it does.
    """

    name = "job_scheduling"

    def __init__(self, config: Config, num_envs: int = 1):
        super().__init__(config, num_envs)
        self.agents = ("scheduler",)
        self.log, self._first, self._last = log.log_of(config)
        slots = config.max_visible
        self._inspects = config.action == "inspect"
        shape: tuple[int, ...] = (slots, len(FEATURES))
        if self._inspects:
            shape = (len(FEATURES) + len(observation.INSPECTOR_FEATURES),)
        self.observation_space = Box(0.0, 1.0, shape, np.float32)
        self.action_space = Discrete(2 if self._inspects else slots)
        self.state_space = Box(0.0, 1.0, (5,), np.float32)
        self.cluster = Cluster(
            *(num_envs, config.num_jobs, self.log.num_processors, config.backfill, config.kill),
            slots=slots,
            wait_s=config.rejection_s,
        )
        self.reference: Reference | None = None
        if config.reward == "gain":
            self.reference = Reference(config.base, self.cluster)
        self._starts = np.zeros(num_envs, np.int64)
        self._size = np.full(num_envs, self.log.num_processors, float)
        self._rows = num_envs, slots, len(FEATURES)
        self._proposed = np.full(num_envs, NONE)
        self._copies, self._slots = np.arange(num_envs), np.arange(slots)

    def _start(self, copies: np.ndarray) -> None:
        count = self.config.num_jobs
        for copy in copies:
            last = self._last - count
            start = int(self.generators[copy].integers(self._first, last, endpoint=True))
            self._starts[copy] = start
            self.cluster.reset(copy, *log.jobs(self.log, start, count))
            if self.reference is not None:
                self.reference.begin(copy)
        self._look()

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chosen = self._chosen(actions[:, 0])
        if self.reference is not None:
            self.reference.compare(chosen)
        self.cluster.step(chosen)
        self._look()
        rewards = REWARDS[self.config.reward](self)[:, None].astype(np.float32)
        return rewards, self.cluster.over, np.zeros(self.num_envs, bool)

    def _chosen(self, actions: np.ndarray) -> np.ndarray:
        """Slots, or NONE for a rejection, [B]."""
        if not self._inspects:
            return np.where(actions < self.cluster.copies["shown"], actions, 0)
        rejects = (actions == 0) & self._rejectable()
        job = self.cluster.visible["job"][self._copies, self._proposed]
        self.cluster.jobs["rejections"][self._copies[rejects], job[rejects]] += 1
        return np.where(rejects, NONE, self._proposed)

    def _rejectable(self) -> np.ndarray:
        rejections = self.cluster.visible["rejections"][self._copies, self._proposed]
        return (self.cluster.copies["shown"] > 0) & (rejections < self.config.max_rejections)

    def _look(self) -> None:
        copies, visible = self.cluster.copies, self.cluster.visible
        self._seen = np.zeros(self._rows, np.float32)  # anew: what was given out stays as it is
        observation.fill(
            *(self._seen, copies["shown"]),
            tuple(visible[name] for name in BY_SLOT),
            (copies["free"], copies["waiting"], copies["running"], self._size),
        )
        if self._inspects:
            self._proposed = first(RULES[self.config.base], self.measured())

    def measured(self) -> Measured:
        """What the scheduler measures, [B, ...], in arrays that later steps do not change."""
        copies, visible = self.cluster.copies, self.cluster.visible
        return Measured(
            shown_jobs=copies["shown"].copy(),
            **{name: visible[name].copy() for name in (*BY_SLOT, "rejections")},
            time_s=copies["clock_s"].copy(),
            free_processors=copies["free"].copy(),
            waiting_jobs=copies["waiting"].copy(),
            running_jobs=copies["running"].copy(),
            num_processors=self._size.copy(),
            proposed=self._proposed.copy(),
        )

    def observations(self) -> np.ndarray:
        if self._inspects:
            return observation.inspected(self.measured(), self._seen, self.config)[:, None]
        return self._seen[:, None]

    def action_masks(self) -> np.ndarray:
        """Slots with a job, [B, 1, 1, V]; of an inspector, whether it may reject, [B, 1, 1, 2]."""
        if self._inspects:
            legal = np.stack((self._rejectable(), np.ones(self.num_envs, bool)), axis=-1)
        else:  # something is legal where all is over, too
            legal = self._slots < np.maximum(self.cluster.copies["shown"], 1)[:, None]
        return legal[:, None, None]

    def state(self) -> np.ndarray:
        """Shares of processors that are free, of jobs that came, and that started; and jobs that
        wait and that run, n as n / (n + 32)."""
        copies, count = self.cluster.copies, self.config.num_jobs
        waiting, running = copies["waiting"], copies["running"]
        columns = (
            *(copies["free"] / self._size, copies["next"] / count, copies["started"] / count),
            *(waiting / (waiting + 32.0), running / (running + 32.0)),
        )
        return np.stack(columns, axis=-1).astype(np.float32)

    def windows(self) -> np.ndarray:
        """Which part of the log an episode begins in; parts are as long as an episode."""
        return (self._starts - self._first) // self.config.num_jobs

    def metrics(self) -> dict[str, np.ndarray]:
        """Of the jobs that have started, whose ends are known then: slowdowns, (wait + run) / run,
        and bounded ones with run times of at least 10 s; times in seconds; the share of all
        processors that they fill from the first submission to the last end."""
        jobs = self.cluster.jobs
        started = jobs["start_s"] >= 0.0
        count = np.maximum(started.sum(axis=1), 1)
        wait_s = np.where(started, jobs["start_s"] - jobs["submit_s"], 0.0)
        total_s = np.where(started, wait_s + jobs["run_s"], 0.0)
        bounded = started * np.maximum(total_s / np.maximum(jobs["run_s"], SHORTEST_S), 1.0)
        end_s = np.where(started, jobs["end_s"], 0.0).max(axis=1)
        span_s = np.maximum(end_s - self.cluster.copies["first_s"], 0.0)
        work = (started * jobs["run_s"] * jobs["processors"]).sum(axis=1)
        return {
            "mean_bounded_slowdown": bounded.sum(axis=1) / count,
            "max_bounded_slowdown": bounded.max(axis=1),
            "max_user_bounded_slowdown": _worst(jobs["user"], bounded, started),
            "mean_slowdown": (total_s / jobs["run_s"]).sum(axis=1) / count,
            "mean_wait_s": wait_s.sum(axis=1) / count,
            "mean_turnaround_s": total_s.sum(axis=1) / count,
            "utilisation": work / self._size / np.maximum(span_s, 1.0),
            "makespan_s": span_s,
            "backfilled_share": (jobs["backfilled"] * started).sum(axis=1) / count,
            "rejections": jobs["rejections"].sum(axis=1).astype(float),
            "started": started.sum(axis=1).astype(float),
        }

    def render(self, copy: int, mode: str) -> str | np.ndarray:
        draws: dict[str, Callable[..., str | np.ndarray]] = {
            "ansi": picture.text,
            "rgb_array": picture.pixels,
        }
        return draws[mode](self.cluster, copy)


def _worst(user: np.ndarray, bounded: np.ndarray, started: np.ndarray) -> np.ndarray:
    """The largest mean over the jobs of a user, of those that have started, [B]."""
    shape = len(user), int(user.max()) + 2  # users, and those that nobody knows
    whose = (user + 1 + shape[1] * np.arange(shape[0])[:, None]).ravel()
    size = shape[0] * shape[1]
    total, count = (np.bincount(whose, x.ravel(), size) for x in (bounded, started))
    return (total / np.maximum(count, 1.0)).reshape(shape).max(axis=1)
