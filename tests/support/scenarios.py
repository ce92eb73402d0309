"""Small random clusters for property tests, and how the compiled simulator plays them."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from job_latencies import played

from marlserve.envs.sims.cluster import DISPATCH, Cluster


@dataclass
class Scenario:
    """What happens to one cluster: its jobs [J], weights [K, M] and changes of speed."""

    cores: tuple[float, ...]
    weights: np.ndarray
    time_s: np.ndarray
    work_s: np.ndarray
    balancer: np.ndarray
    uniform: np.ndarray
    speeds: np.ndarray
    changes: list[tuple[float, int, float]] = field(default_factory=list)
    rules: dict = field(default_factory=dict)

    @property
    def jobs(self) -> tuple[np.ndarray, ...]:
        return self.time_s, self.work_s, self.balancer, self.uniform

    def load(self, cluster: Cluster, copy: int = 0) -> None:
        cluster.reset(copy, speeds=self.speeds, changes=self.changes)
        cluster.add(copy, *self.jobs)

    def cluster(self, num_envs: int = 1) -> Cluster:
        """A cluster with all copies loaded alike."""
        cluster = Cluster(num_envs, len(self.weights), self.cores, **self.rules)
        for copy in range(num_envs):
            self.load(cluster, copy)
        return cluster

    def played(self, times_s=(1e6,)) -> tuple[Cluster, np.ndarray]:
        """One copy, played up to each of these times; and the latencies of its jobs, [J]."""
        cluster = self.cluster()
        return cluster, played(cluster, self.weights[None], times_s, len(self.time_s))[0]


@st.composite
def scenarios(draw, failures: bool = True) -> Scenario:
    """Any cluster of at most 5 servers, 3 balancers and 150 jobs.

    With generic times no two events coincide. With ties, times and work are multiples of 1/4 and
    one job runs at a time at speeds of powers of 2, so that all arithmetic is exact.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_servers, num_balancers = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    num_jobs, ties = draw(st.integers(0, 150)), draw(st.booleans())
    end_s = num_jobs / num_servers / draw(st.sampled_from([1, 3]))
    time_s = np.sort(rng.uniform(0.0, end_s, num_jobs))
    work_s = rng.exponential(1.0, num_jobs) * (rng.random(num_jobs) > 0.05)
    cores = rng.choice([0.5, 1.0, 2.0, 3.0], num_servers)
    rules = {
        "dispatch": draw(st.sampled_from(sorted(DISPATCH))),
        "max_running": draw(st.sampled_from([None, 1, 2, 5])),
        "max_backlog": draw(st.sampled_from([None, 0, 1, 4])),
        "requeue": draw(st.booleans()),
    }
    num_changes = draw(st.integers(0, 6))
    change_s = np.sort(rng.uniform(0.0, 1.0 + time_s.max(initial=0.0), num_changes))
    levels = [0.25, 0.5, 1.0, 2.0, 0.0, 0.0] if failures else [0.25, 0.5, 1.0, 2.0]
    if ties:
        time_s, work_s = np.round(4.0 * time_s) / 4.0, np.round(4.0 * work_s) / 4.0
        change_s, cores = np.round(4.0 * change_s) / 4.0, np.ceil(cores)
        rules["max_running"] = 1
    weights = rng.choice([0.0, 0.5, 1.0, 1.5, 2.0], (num_balancers, num_servers))
    return Scenario(
        cores=tuple(cores.tolist()),
        weights=weights,
        time_s=time_s,
        work_s=work_s,
        balancer=rng.integers(num_balancers, size=num_jobs),
        uniform=rng.random(num_jobs),
        speeds=rng.choice(levels[:4], num_servers),
        changes=[
            (float(t), int(rng.integers(num_servers)), float(rng.choice(levels))) for t in change_s
        ],
        rules=rules,
    )
