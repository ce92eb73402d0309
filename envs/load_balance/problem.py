"""B copies of the load-balancing problem. The package's docstring is its manual."""

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete

from marlserve.envs import base
from marlserve.envs.load_balance import picture, traffic
from marlserve.envs.load_balance.config import MAX_WEIGHT, MIN_WEIGHT, Config
from marlserve.envs.load_balance.observation import FEATURES, Measured, observe
from marlserve.envs.load_balance.rewards import REWARDS
from marlserve.envs.sims.cluster import Cluster
from marlserve.envs.sims.fairness import jain_index
from marlserve.envs.sims.reservoir import DISCOUNT_PER_S, Reservoirs
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
        # Of completed flows first, then of flows in progress; each balancer * M + server.
        self._reservoirs = Reservoirs(num_envs, 2 * k * m, rule=config.reservoir_rule)
        self._reach = np.ones((k, m))
        if config.reach == "own":
            self._reach = np.kron(np.eye(k), np.ones(m // k))
        self.weights = np.zeros((num_envs, k, m))
        self._load = np.zeros(num_envs)  # offered, over all cores
        self.flows_per_step = np.ones(num_envs)  # expected
        self.step_flow_s = np.zeros((num_envs, k))  # flow-seconds of the last step, by balancer
        self.step_slowdown = np.ones((num_envs, k))
        self.step_sent = np.zeros((num_envs, k), np.int64)  # flows sent to a server
        self.step_excess = np.zeros((num_envs, k))  # log excess slowdown, summed over them
        self._statistics = np.zeros((num_envs, 2, k, m, len(STATISTICS)), np.float32)  # seconds
        self._completion_rate = np.zeros((num_envs, k, m))  # per second
        self._steps = np.zeros(num_envs, np.int64)

    def _start(self, copies: np.ndarray) -> None:
        config, (_, k, _) = self.config, self.cluster.shape
        for copy in copies:
            rng = self.generators[copy]
            self._load[copy] = rng.uniform(*config.load)
            jobs, rate_per_s = traffic.arrivals(config, rng, self._load[copy])
            self.cluster.load(
                copy,
                jobs.time_s,
                jobs["work_s"],
                balancer=(rng.random(len(jobs)) * k).astype(int),  # as many draws for any k
                uniform=rng.random(len(jobs)),
                changes=traffic.slowdowns(config, rng),
            )
            self._reservoirs.reset(copy, rng.integers(2**63))
            self.flows_per_step[copy] = rate_per_s * config.step_s
        self.weights[copies] = 1.0
        self.step_slowdown[copies] = 1.0
        self._statistics[copies] = 0.0
        self._completion_rate[copies] = 0.0
        self._steps[copies] = 0

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        config, cluster, (b, k, m) = self.config, self.cluster, self.cluster.shape
        self.weights = np.asarray(actions, float)
        if config.action == "levels":
            self.weights = np.asarray(config.weight_levels)[actions]
        self._steps += 1
        before = cluster.balancers.copy()
        cluster.advance(self.weights * self._reach, self._steps * config.step_s)
        after = cluster.balancers
        self.step_flow_s = after["flow_s"] - before["flow_s"]
        self.step_sent = after["sent"] - before["sent"]
        self.step_excess = after["excess"] - before["excess"]
        self._observe_completions()
        self._reservoirs.add(*cluster.flow_durations(), first=k * m)
        statistics = self._reservoirs.features(cluster.copies["clock_s"])
        self._statistics = statistics.reshape(b, 2, k, m, -1)
        rewards = np.broadcast_to(REWARDS[config.reward](self), (b, k)).astype(np.float32)
        return rewards, np.zeros(b, bool), self._steps >= config.num_steps

    def _observe_completions(self) -> None:
        """Both reservoirs see a completion: the end of a flow is also the last of its durations."""
        b, k, m = self.cluster.shape
        lengths, log = self.cluster.completions()
        seen = self._reservoirs.seen[:, : k * m].copy()
        self._reservoirs.add(lengths, log)
        self._reservoirs.add(lengths, log, first=k * m)
        completed = (self._reservoirs.seen[:, : k * m] - seen).reshape(b, k, m)
        kept = DISCOUNT_PER_S**self.config.step_s
        self._completion_rate *= kept
        self._completion_rate += (1.0 - kept) * completed / self.config.step_s
        if self.config.reward == "slowdown":
            for copy, length in enumerate(lengths):
                self._observe_slowdown(copy, log[copy, :length])

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
            completed_per_s=self._completion_rate.copy(),
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
        x jobs per core are shown as x / (x + 1), cores as a share of the largest server's, and
        half of the load."""
        servers, b, config = self.cluster.servers, self.num_envs, self.config
        jobs = np.stack((servers["running"], servers["waiting"]), axis=1)
        jobs = np.concatenate((jobs, self.cluster.ongoing), axis=1) / servers["cores"][:, None]
        jobs = (jobs / (jobs + 1.0)).reshape(b, -1)
        cores = servers["cores"] / max(config.cores)
        offered = self._load / 2.0
        rest = np.stack((offered, self._steps / config.num_steps), axis=-1)
        return np.concatenate((jobs, cores, servers["speed"], rest), axis=-1).astype(np.float32)

    def metrics(self) -> dict[str, np.ndarray]:
        """Of the episode so far: counts of jobs, latencies of the completed ones in seconds (0
        while there are none; rejected jobs have none), utilisation in [0, 1], and Jain's index of
        the servers' mean jobs per core."""
        copies, servers = self.cluster.copies, self.cluster.servers
        clock_s = np.maximum(copies["clock_s"], self.config.step_s)[:, None]
        latency_s = [self.cluster.jobs["latency_s"][b] for b in range(self.num_envs)]
        latency_s = [x[np.isfinite(x)] for x in latency_s]
        names = ("mean", "p50", "p90", "p95", "p99")
        summary = np.array(
            [
                [x.mean(), *np.percentile(x, [50, 90, 95, 99])] if len(x) else np.zeros(5)
                for x in latency_s
            ]
        )
        busy = servers["busy_core_s"].sum(axis=-1) / servers["cores"].sum(axis=-1)
        return {
            "completed": copies["completed"].astype(float),
            "rejected": copies["rejected"].astype(float),
            **{f"{name}_latency_s": summary[:, i] for i, name in enumerate(names)},
            "utilisation": busy / clock_s[:, 0],
            "jain_index": jain_index(servers["flow_s"] / servers["cores"] / clock_s),
        }

    def render(self, copy: int, mode: str) -> str | np.ndarray:
        draw = {"ansi": picture.text, "rgb_array": picture.pixels}[mode]
        return draw(self.cluster.servers[copy], self.weights[copy], self.cluster.copies[copy])
