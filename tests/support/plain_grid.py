"""A second implementation of `sims.backfill_grid`, by its docstring, over `PlainCluster`.

Jobs take no part in a cluster after they were sent: their start there is -inf. What is sent comes
into the other cluster's list where its time of coming has it.
"""

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from plain_cluster import Job, PlainCluster


@dataclass
class Moving(Job):
    """A job in one cluster; submit_s is when it comes there."""

    number: int = 0
    been: list[int] = field(default_factory=list)


class PlainGrid:
    """One copy. `choose` is given the scheduler's number and what it may do, each
    (how many clusters further, job's index there)."""

    def __init__(
        self,
        jobs: Sequence[Moving],
        sizes: Sequence[int],
        backfill: str,
        transfer_s: float,
        max_migrations: int,
    ):
        self.clusters = []
        for k, size in enumerate(sizes):
            own = [job for job in jobs if job.been == [k]]
            cluster = PlainCluster(own or [Moving(math.inf, 1.0, 1.0, 1)], size, backfill, 1.0)
            cluster.jobs = own
            self.clusters.append(cluster)
        self.transfer_s, self.max_migrations = transfer_s, max_migrations
        self.kept: list[int | None] = [None] * len(sizes)
        self.asked = [False] * len(sizes)
        self.now_s = -math.inf
        for cluster in self.clusters:
            cluster.now_s = self.now_s

    def play(self, choose: Callable[[int, list[tuple[int, int]]], tuple[int, int]]) -> None:
        while any(job.start_s == math.inf for cluster in self.clusters for job in cluster.jobs):
            if not any(self.asked):
                self._go_on()
                continue
            asked = [k for k, is_asked in enumerate(self.asked) if is_asked]
            chosen = {k: choose(k, self.options(k)) for k in asked}
            for k, (away, i) in chosen.items():
                self._act(k, away, i)

    def options(self, k: int) -> list[tuple[int, int]]:
        waiting, kept = self.clusters[k].waiting(), self.kept[k]
        starts = waiting if kept is None else [kept]
        return [(0, i) for i in starts] + [
            (away, i)
            for away in range(1, len(self.clusters))
            for i in waiting
            if i != kept and self._may_go(k, i, (k + away) % len(self.clusters))
        ]

    def _may_go(self, k: int, i: int, to: int) -> bool:
        job, there = self.clusters[k].jobs[i], self.clusters[to]
        fits = job.processors <= there.size
        return fits and to not in job.been and len(job.been) <= self.max_migrations

    def _go_on(self) -> None:
        self.now_s = min(cluster.next_s() for cluster in self.clusters)
        for cluster in self.clusters:
            cluster.now_s = self.now_s
        for k, cluster in enumerate(self.clusters):
            came = any(job.submit_s == self.now_s for job in cluster.jobs)
            if not came and not any(job.end_s == self.now_s for job in cluster.jobs):
                continue
            if (kept := self.kept[k]) is None:
                self.asked[k] = bool(cluster.waiting())
            elif self._starts(k, kept):
                self.kept[k], self.asked[k] = None, bool(cluster.waiting())
            elif came:
                self.asked[k] = len(self.options(k)) > 1

    def _starts(self, k: int, i: int) -> bool:
        """Start a job, or what may beside it."""
        cluster = self.clusters[k]
        if cluster.jobs[i].processors <= cluster.free():
            cluster.jobs[i].start_s = self.now_s
            return True
        if cluster.backfill != "none":
            getattr(cluster, cluster.backfill)(i)
        return False

    def _act(self, k: int, away: int, i: int) -> None:
        cluster, to = self.clusters[k], (k + away) % len(self.clusters)
        if away:
            job, there = cluster.jobs[i], self.clusters[to]
            came_s = self.now_s + self.transfer_s
            at = bisect.bisect_right([other.submit_s for other in there.jobs], came_s)
            there.jobs.insert(at, replace(job, submit_s=came_s, been=[*job.been, to]))
            job.start_s = -math.inf
            others = bool(cluster.waiting()) if self.kept[k] is None else len(self.options(k)) > 1
            self.asked[k] = others
        elif self.kept[k] is not None:
            self.asked[k] = False
        elif self._starts(k, i):
            self.asked[k] = bool(cluster.waiting())
        else:
            self.kept[k], self.asked[k] = i, False
