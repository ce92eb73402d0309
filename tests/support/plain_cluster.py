"""A second implementation of `sims.backfill`, by its docstring: slow, and without a state to keep.

At any time it asks of all jobs anew who runs, who waits and what is free.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Job:
    submit_s: float
    run_s: float
    requested_s: float
    processors: int
    start_s: float = math.inf
    backfilled: bool = False

    @property
    def end_s(self) -> float:
        return self.start_s + self.run_s


class PlainCluster:
    """One copy. `choose` picks from the waiting jobs, in order of arrival; None: wait a while."""

    def __init__(self, jobs: list[Job], num_processors: int, backfill: str, wait_s: float):
        self.jobs, self.size, self.backfill, self.wait_s = jobs, num_processors, backfill, wait_s
        self.now_s = jobs[0].submit_s

    def play(self, choose: Callable[[list[int]], int | None]) -> None:
        while any(job.start_s == math.inf for job in self.jobs):
            if not (waiting := self.waiting()):
                self.now_s = self.next_s()
                continue
            chosen = choose(waiting)
            if chosen is None:
                self.now_s = min(self.next_s(), self.now_s + self.wait_s)
                continue
            while self.free() < self.jobs[chosen].processors:
                if self.backfill != "none":
                    getattr(self, self.backfill)(chosen)
                self.now_s = self.next_s()
            self.jobs[chosen].start_s = self.now_s

    def waiting(self) -> list[int]:
        return [
            i
            for i, job in enumerate(self.jobs)
            if job.submit_s <= self.now_s and job.start_s == math.inf
        ]

    def running(self) -> list[Job]:
        return [job for job in self.jobs if job.start_s <= self.now_s < job.end_s]

    def free(self) -> int:
        return self.size - sum(job.processors for job in self.running())

    def next_s(self) -> float:
        times = [job.submit_s for job in self.jobs] + [job.end_s for job in self.jobs]
        return min((time_s for time_s in times if time_s > self.now_s), default=math.inf)

    def free_then(self, time_s: float) -> int:
        """By the limits of those that run."""
        late = [job for job in self.running() if job.start_s + job.requested_s > time_s]
        return self.size - sum(job.processors for job in late)

    def start(self, i: int) -> None:
        self.jobs[i].start_s, self.jobs[i].backfilled = self.now_s, True

    def easy(self, chosen: int) -> None:
        need = self.jobs[chosen].processors
        limits = [job.start_s + job.requested_s for job in self.running()]
        times = sorted([self.now_s, *(x for x in limits if x > self.now_s)])
        shadow_s = next(x for x in times if self.free_then(x) >= need)
        for i in self.waiting():
            job = self.jobs[i]
            in_time = self.now_s + job.requested_s <= shadow_s
            beside = job.processors <= self.free_then(shadow_s) - need
            if i != chosen and job.processors <= self.free() and (in_time or beside):
                self.start(i)

    def conservative(self, chosen: int) -> None:
        after_s = math.nextafter(self.now_s, math.inf)
        taken = [
            (self.now_s, max(job.start_s + job.requested_s, after_s), job.processors)
            for job in self.running()
        ]
        for i in [chosen, *(i for i in self.waiting() if i != chosen)]:
            job = self.jobs[i]
            start_s = min(
                time_s
                for time_s in {self.now_s, *(end_s for _, end_s, _ in taken)}
                if self._fits(taken, time_s, job)
            )
            taken.append((start_s, start_s + job.requested_s, job.processors))
            if start_s == self.now_s:
                self.start(i)

    def _fits(self, taken: list[tuple[float, float, int]], start_s: float, job: Job) -> bool:
        end_s = start_s + job.requested_s
        moments = {start_s, *(x for x, _, _ in taken if start_s <= x < end_s)}
        return all(
            sum(n for first_s, last_s, n in taken if first_s <= moment < last_s)
            <= self.size - job.processors
            for moment in moments
        )
