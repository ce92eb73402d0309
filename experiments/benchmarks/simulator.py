"""The compiled simulator, the same model in plain Python, and in SimPy: sides of `benchmark.py`.

Jobs of the Wikipedia workload at a load of 0.85 on 16 servers of 4 cores, by shortest expected
delay. The compiled simulator plays 64 copies in one kernel, in control steps of 0.25 s, with and
without the statistics of all flows. The other two play one copy, and keep no statistics.
"""

import time
from functools import partial

import numpy as np

from marlserve import traces
from marlserve.envs.sims.cluster import Cluster
from marlserve.envs.sims.reservoir import Reservoirs
from marlserve.experiments.benchmarks import reference_cluster
from marlserve.experiments.benchmarks.work import Work, timed
from marlserve.traces import wikipedia

COPIES, CORES, LOAD, STEP_S = 64, (4,) * 16, 0.85, 0.25


def arrivals(copy: int, duration_s: float, num_balancers: int) -> tuple[np.ndarray, ...]:
    """Times, work, balancers and draws of one copy's jobs."""
    rng = np.random.default_rng(copy)
    rate_per_s = LOAD * sum(CORES) / wikipedia.MEAN_WORK_S
    mean_rate_per_s = rate_per_s / float(wikipedia.shape(duration_s / 2.0))
    jobs = traces.load("wikipedia", rng, duration_s=duration_s, mean_rate_per_s=mean_rate_per_s)
    count = len(jobs)
    return jobs.time_s, jobs["work_s"], rng.integers(num_balancers, size=count), rng.random(count)


def compiled(num_balancers: int, statistics: bool, duration_s: float = 5.0):
    """A side; drawing the jobs and loading them is not counted."""
    cluster = Cluster(COPIES, num_balancers, CORES)
    pairs = num_balancers * len(CORES)
    reservoirs = Reservoirs(COPIES, 2 * pairs)
    jobs = [arrivals(copy, duration_s, num_balancers) for copy in range(COPIES)]
    weights = np.ones(cluster.shape)

    def play() -> Work:
        for copy in range(COPIES):
            cluster.load(copy, *jobs[copy])
            reservoirs.reset(copy, copy)
        start_s = time.process_time()
        for step in range(1, round(duration_s / STEP_S) + 1):
            cluster.advance(weights, step * STEP_S)
            if statistics:
                completed = cluster.completions()
                reservoirs.add(*completed)
                reservoirs.add(*completed, first=pairs)
                reservoirs.add(*cluster.flow_durations(), first=pairs)
                reservoirs.features(cluster.copies["clock_s"])
        return Work(int(cluster.copies["arrived"].sum()), time.process_time() - start_s)

    return play


def interpreted(num_balancers: int, simpy: bool, duration_s: float = 2.0):
    """A side."""
    jobs = [values.tolist() for values in arrivals(0, duration_s, num_balancers)]
    weights = np.ones((num_balancers, len(CORES))).tolist()

    def play() -> int:
        if simpy:
            reference_cluster.play_with_simpy(*jobs, cores=CORES, weights=weights)
        else:
            reference_cluster.Cluster(CORES, weights).play(*jobs)
        return len(jobs[0])

    return timed(play)


PLAIN = "plain Python"
SIMULATOR = {
    "compiled, with statistics": partial(compiled, 4, True),
    "compiled, with statistics, 1 balancer": partial(compiled, 1, True),
    "compiled": partial(compiled, 4, False),
    "compiled, 1 balancer": partial(compiled, 1, False),
    PLAIN: partial(interpreted, 4, False),
    "SimPy": partial(interpreted, 4, True),
}
