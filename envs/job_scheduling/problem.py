"""B copies of the scheduling problem. The package's docstring is its manual."""

from collections.abc import Callable

import numpy as np
from gymnasium.spaces import Box, Discrete

from marlserve.envs import base
from marlserve.envs.job_scheduling import grid, log, metrics, observation, picture
from marlserve.envs.job_scheduling.config import Config
from marlserve.envs.job_scheduling.observation import BY_SLOT, FEATURES, Measured
from marlserve.envs.job_scheduling.reference import Reference
from marlserve.envs.job_scheduling.rewards import REWARDS
from marlserve.envs.job_scheduling.rules import RULES, first
from marlserve.envs.sims.backfill import NONE, Cluster
from marlserve.envs.sims.backfill_grid import Grid


class Problem(base.Problem):
    """See `marlserve.envs.job_scheduling`.

    Attributes:
        log: of which episodes are parts.
        cluster: the simulator, of one cluster or a grid of K; its arrays have B K rows.
        sizes: processors, [K].
        reference: of the rule that a reward compares with, if it does.
    """

    name = "job_scheduling"

    def __init__(self, config: Config, num_envs: int = 1):
        super().__init__(config, num_envs)
        clusters, k = config.clusters, max(len(config.clusters), 1)
        self.agents = tuple(f"scheduler_{i}" for i in range(k)) if clusters else ("scheduler",)
        self.log, self._first, self._last = log.log_of(config)
        slots = config.max_visible
        self._inspects = config.action == "inspect"
        shape: tuple[int, ...] = (slots * k, len(FEATURES) + len(grid.features(len(clusters))))
        if self._inspects:
            shape = (len(FEATURES) + len(observation.INSPECTOR_FEATURES),)
        self.observation_space = Box(0.0, 1.0, shape, np.float32)
        self.action_space = Discrete(2 if self._inspects else slots * k)
        self.state_space = Box(0.0, 1.0, (5 * k,), np.float32)
        self.sizes = np.array(clusters or (self.log.num_processors,), float)
        self.cluster, self.reference = self._simulator()
        self._starts = np.zeros(num_envs, np.int64)
        self._size = np.tile(self.sizes, num_envs)
        self._rows = num_envs * k, slots, len(FEATURES)
        self._leading = (num_envs, k) if clusters else (num_envs,)
        self._proposed = np.full(num_envs * k, NONE)
        self._copies, self._slots = np.arange(num_envs), np.arange(slots)

    def _simulator(self) -> tuple[Cluster | Grid, Reference | None]:
        """And the rule that a reward compares with, if it does."""
        config, size = self.config, (self.num_envs, self.config.num_jobs)
        if config.clusters:
            limits = config.transfer_s, config.max_migrations
            how = config.backfill, config.kill, config.max_visible
            return Grid(*size, config.clusters, *how, *limits), None
        cluster = Cluster(
            *(*size, self.log.num_processors, config.backfill, config.kill),
            slots=config.max_visible,
            wait_s=config.rejection_s,
        )
        return cluster, Reference(config.base, cluster) if config.reward == "gain" else None

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
        chosen = self._legal(actions) if self.config.clusters else self._chosen(actions[:, 0])
        if self.reference is not None:
            self.reference.compare(chosen)
        self.cluster.step(chosen)
        self._look()
        rewards = REWARDS[self.config.reward](self).reshape(self.num_envs, -1)
        if len(self.agents) > 1:
            if self.config.reward_scope == "team":
                rewards = rewards.sum(axis=1, keepdims=True)
            rewards = np.repeat(rewards, len(self.agents) // rewards.shape[1], axis=1)
        return rewards.astype(np.float32), self.cluster.over, np.zeros(self.num_envs, bool)

    def _legal(self, actions: np.ndarray) -> np.ndarray:
        """With several clusters: those that are masked stand for the first that is not, [B, K]."""
        legal = self.action_masks()[:, :, 0]
        good = np.take_along_axis(legal, actions[..., None], axis=-1)[..., 0]
        return np.where(good, actions, legal.argmax(axis=-1))

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
        """What schedulers measure, [B, ...], or of several clusters [B, K, ...], in arrays that
        later steps do not change."""
        copies, visible = self.cluster.copies, self.cluster.visible
        return Measured(
            shown_jobs=self._by_agent(copies["shown"]),
            **{name: self._by_agent(visible[name]) for name in (*BY_SLOT, "rejections")},
            time_s=self._by_agent(copies["clock_s"]),
            free_processors=self._by_agent(copies["free"]),
            waiting_jobs=self._by_agent(copies["waiting"]),
            running_jobs=self._by_agent(copies["running"]),
            num_processors=self._by_agent(self._size),
            proposed=self._by_agent(self._proposed),
            grid=self._known(self.cluster) if isinstance(self.cluster, Grid) else None,
        )

    def _by_agent(self, rows: np.ndarray) -> np.ndarray:
        return rows.reshape(*self._leading, *rows.shape[1:]).copy()

    def _known(self, clusters: Grid) -> grid.Grid:
        copies, members = clusters.copies, clusters.members
        jobs, shown = clusters.jobs, clusters.visible["job"]
        k = np.arange(len(self.sizes))
        order = (k[:, None] + k) % len(k)  # [K, K]: first its own, then those after it

        def of_each(values: np.ndarray) -> np.ndarray:
            return values.reshape(self._leading)[:, order]

        came_s, submit_s = (
            np.take_along_axis(jobs[name], np.maximum(shown, 0), axis=1)
            for name in ("came_s", "submit_s")
        )
        return grid.Grid(
            cluster=np.broadcast_to(k, self._leading).copy(),
            asked=members["asked"] > 0,
            keeps=members["kept"] != NONE,
            from_elsewhere=self._by_agent((shown != NONE) & (came_s > submit_s)),
            may=clusters.legal.copy(),
            num_processors=of_each(self._size),
            free_processors=of_each(copies["free"]),
            waiting_jobs=of_each(copies["waiting"]),
            backlog_s=of_each(members["backlog_s"]),
        )

    def observations(self) -> np.ndarray:
        if isinstance(self.cluster, Grid):
            visible = self.cluster.visible
            return grid.by_action(
                self._seen.reshape(*self._leading, *self._rows[1:]),
                self._known(self.cluster),
                self._by_agent(self.cluster.copies["shown"]),
                self._by_agent(visible["processors"]),
                self._by_agent(visible["requested_s"]),
                self.config.transfer_s,
            )
        if self._inspects:
            return observation.inspected(self.measured(), self._seen, self.config)[:, None]
        return self._seen[:, None]

    def action_masks(self) -> np.ndarray:
        """Slots with a job, [B, 1, 1, V]; of an inspector, whether it may reject, [B, 1, 1, 2]; of
        several clusters what may be started or sent, [B, K, 1, K V]."""
        if isinstance(self.cluster, Grid):
            return self.cluster.legal.reshape(*self._leading, 1, -1).copy()
        if self._inspects:
            legal = np.stack((self._rejectable(), np.ones(self.num_envs, bool)), axis=-1)
        else:  # something is legal where all is over, too
            legal = self._slots < np.maximum(self.cluster.copies["shown"], 1)[:, None]
        return legal[:, None, None]

    def state(self) -> np.ndarray:
        """Of each cluster: shares of processors that are free, of jobs that came, and that started;
        and jobs that wait and that run, n as n / (n + 32)."""
        copies, count = self.cluster.copies, self.config.num_jobs
        waiting, running = copies["waiting"], copies["running"]
        columns = (
            *(copies["free"] / self._size, copies["next"] / count, copies["started"] / count),
            *(waiting / (waiting + 32.0), running / (running + 32.0)),
        )
        return np.stack(columns, axis=-1).reshape(self.num_envs, -1).astype(np.float32)

    def windows(self) -> np.ndarray:
        """Which part of the log an episode begins in; parts are as long as an episode."""
        return (self._starts - self._first) // self.config.num_jobs

    def metrics(self) -> dict[str, np.ndarray]:
        """Of the jobs that have started, see `metrics`."""
        jobs = self.cluster.jobs.reshape(self.num_envs, -1)
        first_s = self.cluster.copies["first_s"].reshape(self.num_envs, -1)[:, 0]
        found = metrics.of(jobs, first_s, self.sizes.sum())
        if self.config.clusters:
            found["migrations_per_job"] = metrics.migrations_per_job(jobs)
        return found

    def render(self, copy: int, mode: str) -> str | np.ndarray:
        draws: dict[str, Callable[..., str | np.ndarray]] = {
            "ansi": picture.text,
            "rgb_array": picture.pixels,
        }
        count = len(self.sizes)
        return draws[mode](
            self.cluster, range(copy * count, (copy + 1) * count), self.sizes.astype(int).tolist()
        )
