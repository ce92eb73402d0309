"""B copies of the load-balancing problem. The package's docstring is its manual."""

from collections.abc import Callable

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete

from marlserve.envs import base
from marlserve.envs.load_balance import picture, traffic
from marlserve.envs.load_balance.config import MAX_WEIGHT, MIN_WEIGHT, Config
from marlserve.envs.load_balance.memory import Memory
from marlserve.envs.load_balance.observation import FEATURES, Measured, observe
from marlserve.envs.load_balance.rewards import REWARDS
from marlserve.envs.sims.cluster import Cluster
from marlserve.envs.sims.fairness import jain_index
from marlserve.envs.sims.latencies import Latencies
from marlserve.envs.sims.reservoir import FEATURES as STATISTICS

_LEAST_WORK_S = 1e-3  # for slowdowns: that of a job without work is not finite


class Problem(base.Problem):
    """See `marlserve.envs.load_balance`."""

    name = "load_balance"

    def __init__(self, config: Config, num_envs: int = 1):
        super().__init__(config, num_envs)
        k, m = config.num_balancers, config.num_servers
        self.agents = tuple(f"lb_{i}" for i in range(k))
        self.observation_space = Box(0.0, 1.0, (m, len(FEATURES)), np.float32)
        if config.action == "levels":
            self.action_space = MultiDiscrete([len(config.weight_levels)] * m)
        else:
            self.action_space = Box(MIN_WEIGHT, MAX_WEIGHT, (m,), np.float32)
        self.state_space = Box(0.0, 1.0, (m * (4 + k) + 2,), np.float32)
        self.cluster = Cluster(
            *(num_envs, k, config.cores, config.dispatch, config.max_running, config.max_backlog)
        )
        self._memory = Memory(config, num_envs, k * m)
        self._reach: np.ndarray = np.ones((k, m))
        if config.reach == "own":
            self._reach = np.kron(np.eye(k), np.ones(m // k))
        self.weights = np.zeros((num_envs, k, m))
        self.traffic: list[traffic.Traffic | None] = [None] * num_envs
        self._drawn = np.zeros(num_envs, np.int64)  # steps up to which arrivals are drawn
        self._latencies = Latencies(num_envs)
        # As the warm-up ended: metrics are of what came after.
        self._first, self._warm = self.cluster.copies.copy(), self.cluster.servers.copy()
        self._load = np.zeros(num_envs)  # offered, over all cores
        self.flows_per_step = np.ones(num_envs)  # expected
        self.step_flow_s = np.zeros((num_envs, k))  # flow-seconds of the last step, by balancer
        self.step_slowdown = np.ones((num_envs, k))
        self.step_sent = np.zeros((num_envs, k), np.int64)  # flows sent to a server
        self.step_excess = np.zeros((num_envs, k))  # log excess slowdown, summed over them
        self._statistics = np.zeros((num_envs, 2, k, m, len(STATISTICS)), np.float32)  # seconds
        self._steps = np.zeros(num_envs, np.int64)

    def _start(self, copies: np.ndarray) -> None:
        config, (b, k, m) = self.config, self.cluster.shape
        for copy in copies:
            rng = self.generators[copy]
            self._load[copy], speeds, arriving, changes = traffic.episode(config, rng)
            self.traffic[copy] = arriving
            self.flows_per_step[copy] = arriving.rate_per_s * config.step_s
            clock_s = -config.warm_up_steps * config.step_s
            self.cluster.reset(copy, speeds, changes, clock_s)
            self._memory.reset(copy, rng.integers(2**63))
        self._steps[copies] = self._drawn[copies] = -config.warm_up_steps
        self.step_slowdown[copies] = 1.0
        self._latencies.reset(copies)
        by_cores = np.broadcast_to(np.asarray(config.cores, float), (b, k, m))
        for _ in range(config.warm_up_steps):
            self._play(by_cores, copies)
        self._first[copies] = self.cluster.copies[copies]
        self._warm[copies] = self.cluster.servers[copies]
        self._statistics[copies] = self._flow_statistics()[copies]
        self.weights[copies] = 1.0

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        config, cluster, (b, k, _) = self.config, self.cluster, self.cluster.shape
        self.weights = np.asarray(actions, float)
        if config.action == "levels":
            self.weights = np.asarray(config.weight_levels)[actions]
        before = cluster.balancers.copy()
        self._play(self.weights, np.arange(b))
        after = cluster.balancers
        self.step_flow_s = after["flow_s"] - before["flow_s"]
        self.step_sent = after["sent"] - before["sent"]
        self.step_excess = after["excess"] - before["excess"]
        self._latencies.add(*cluster.completions(), first=self._first["arrived"])
        self._statistics = self._flow_statistics()
        rewards = np.broadcast_to(REWARDS[config.reward](self), (b, k)).astype(np.float32)
        return rewards, np.zeros(b, bool), self._steps >= config.num_steps

    def _play(self, weights: np.ndarray, copies: np.ndarray) -> None:
        """One step of these copies, and what their balancers remember of it. No time passes for
        the others."""
        config, cluster = self.config, self.cluster
        for copy in copies[self._drawn[copies] == self._steps[copies]]:
            jobs, self._drawn[copy] = self.traffic[copy].draw()
            cluster.add(copy, *jobs)
        self._steps[copies] += 1
        until_s = cluster.copies["clock_s"].copy()
        until_s[copies] = self._steps[copies] * config.step_s
        cluster.advance(weights * self._reach, until_s)
        lengths, log = completed = cluster.completions()
        self._memory.add(copies, completed, cluster.flow_durations())
        if config.reward == "slowdown":
            for copy, length in enumerate(lengths):
                self._observe_slowdown(copy, log[copy, :length])

    def _flow_statistics(self) -> np.ndarray:
        """Of the flows of every balancer at every server, now, [B, 2, K, M, 5]."""
        b, k, m = self.cluster.shape
        statistics = self._memory.statistics(self.cluster.copies["clock_s"])
        return statistics.reshape(b, 2, k, m, -1)

    def _observe_slowdown(self, copy: int, flows: np.ndarray) -> None:
        slowdown = flows["value_s"] / np.maximum(flows["work_s"], _LEAST_WORK_S)
        balancer = flows["pair"] // self.config.num_servers
        if self.config.reward_scope == "team":
            balancer = np.zeros_like(balancer)
        count, total = np.bincount(balancer), np.bincount(balancer, slowdown)
        seen = np.flatnonzero(count)
        self.step_slowdown[copy, seen] = total[seen] / count[seen]

    def statistic(self, field: str) -> np.ndarray:
        """One of the flow statistics by its name in `FEATURES`, in seconds: [B, K, M]."""
        kind, name = field.split("_", 1)
        return self._statistics[:, ("fct", "duration").index(kind), ..., STATISTICS.index(name)]

    def measured(self) -> Measured:
        """What each balancer measures, [B, K, ...], in arrays that later steps do not change."""
        cluster, (b, k, m) = self.cluster, self.cluster.shape
        jobs = cluster.servers["running"] + cluster.servers["waiting"]
        statistics = self._statistics.copy()
        return Measured(
            ongoing_flows=cluster.ongoing.copy(),
            completed_per_s=self._memory.completed_per_s.reshape(b, k, m).copy(),
            fct_s=statistics[:, 0],
            duration_s=statistics[:, 1],
            last_weight=self.weights.copy(),
            balancer=np.broadcast_to(np.arange(k), (b, k)),
            probed_jobs=np.broadcast_to(jobs[:, None], (b, k, m)),
        )

    def observations(self) -> np.ndarray:
        return observe(self.measured(), self.config)

    def state(self) -> np.ndarray:
        """Of every server its running jobs, its waiting jobs, each balancer's flows, its cores and
        its speed; then the offered load and the share of the episode that is over. All in [0, 1]:
        x jobs per core are shown as x / (x + 1), cores and speeds as a share of the largest, and
        half of the load."""
        servers, b, config = self.cluster.servers, self.num_envs, self.config
        jobs = np.stack((servers["running"], servers["waiting"]), axis=1)
        jobs = np.concatenate((jobs, self.cluster.ongoing), axis=1) / servers["cores"][:, None]
        jobs = (jobs / (jobs + 1.0)).reshape(b, -1)
        cores = servers["cores"] / max(config.cores)
        speeds = servers["speed"] / max(config.drawn_speeds)
        offered = self._load / 2.0
        rest = np.stack((offered, self._steps / config.num_steps), axis=-1)
        return np.concatenate((jobs, cores, speeds, rest), axis=-1).astype(np.float32)

    def metrics(self) -> dict[str, np.ndarray]:
        """Of the episode so far, the warm-up left out: jobs that arrived and completed, jobs that
        were rejected, latencies of the former in seconds (0 while there are none), utilisation in
        [0, 1], and Jain's index of the servers' mean jobs per core."""
        servers, cores = self.cluster.servers, self.cluster.servers["cores"]
        clock_s = np.maximum(self.cluster.copies["clock_s"], self.config.step_s)[:, None]
        percents = (50, 90, 95, 99)
        mean_s, percentiles_s = self._latencies.summary_s(percents)
        busy = (servers["busy_core_s"] - self._warm["busy_core_s"]).sum(axis=-1) / cores.sum(
            axis=-1
        )
        flow_s = servers["flow_s"] - self._warm["flow_s"]
        rejected = self.cluster.copies["rejected"] - self._first["rejected"]
        return {
            "completed": self._latencies.count.astype(float),
            "rejected": rejected.astype(float),
            "mean_latency_s": mean_s,
            **{f"p{q}_latency_s": percentiles_s[:, i] for i, q in enumerate(percents)},
            "utilisation": busy / clock_s[:, 0],
            "jain_index": jain_index(flow_s / cores / clock_s),
        }

    def render(self, copy: int, mode: str) -> str | np.ndarray:
        draws: dict[str, Callable[..., str | np.ndarray]] = {
            "ansi": picture.text,
            "rgb_array": picture.pixels,
        }
        servers, counts = self.cluster.servers[copy], self.cluster.copies[copy]
        return draws[mode](servers, self.weights[copy], counts)
