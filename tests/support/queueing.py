"""Queueing theory for the tests: closed forms, and simulated means with their errors.

All servers have mean work 1 and, unless said otherwise, speed 1; rho is the load of a core.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from job_latencies import played
from scipy import sparse
from scipy.sparse.linalg import spsolve
from scipy.stats import t as student

from marlserve.envs.sims.cluster import Cluster

REPLICATIONS = 20
WARM_UP = 0.1  # share of the jobs that is not counted, as the system starts empty
JOB = np.dtype([("arrival_s", "f8"), ("work_s", "f8"), ("latency_s", "f8")])
_DOUBTS = 1e-3  # an interval misses the true value with this probability


# Laws of work, mean 1 ----------------------------------------------------------------------------


def deterministic(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.ones(size)


def exponential(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.exponential(1.0, size)


def hyper_exponential(rng: np.random.Generator, size: int) -> np.ndarray:
    """Two phases of balanced means, squared coefficient of variation 4."""
    short = 0.5 * (1.0 + math.sqrt(3.0 / 5.0))
    phase = np.where(rng.random(size) < short, short, 1.0 - short)
    return rng.exponential(1.0, size) / (2.0 * phase)


# Mean times in the system ------------------------------------------------------------------------


def erlang_c(k: int, rho: float) -> float:
    """M/M/k: 1 + C / (k (1 - rho)), C the probability to wait, by Erlang B's recursion."""
    blocked = 1.0
    for servers in range(1, k + 1):
        blocked = k * rho * blocked / (servers + k * rho * blocked)
    waits = blocked / (1.0 - rho * (1.0 - blocked))
    return 1.0 + waits / (k * (1.0 - rho))


def pollaczek_khinchine(rho: float, scv: float) -> float:
    """M/G/1 first come first served; scv: squared coefficient of variation of the work."""
    return 1.0 + rho * (1.0 + scv) / (2.0 * (1.0 - rho))


def round_robin(n: int, rho: float) -> float:
    """Erlang-n/M/1: 1 / (1 - s) with s = (n rho / (n rho + 1 - s))^n."""
    s = 0.0
    for _ in range(10_000):
        s = (n * rho / (n * rho + 1.0 - s)) ** n
    return 1.0 / (1.0 - s)


def power_of_two_limit(rho: float) -> float:
    """Infinitely many servers: sum_k rho^(2^k - 1) / rho (Mitzenmacher 2001)."""
    return sum(rho ** (2.0**k - 1.0) for k in range(1, 30)) / rho


def shortest_of_two(rho: float, longest: int = 150) -> float:
    """Join the shortest of two queues, by the stationary law of its Markov chain.

    A state is (longer, shorter) queue; queues longer than `longest` are cut off.
    """
    states = {}
    for longer in range(longest + 1):
        for shorter in range(longer + 1):
            states[longer, shorter] = len(states)
    rows, columns, rates = [], [], []
    for (longer, shorter), state in states.items():
        moves = [((longer, shorter + 1), 2.0 * rho)]
        moves += [((longer - 1, shorter), 1.0)] * (longer > 0)
        moves += [((longer, shorter - 1), 1.0)] * (shorter > 0)
        for queues, rate in moves:
            target = states.get(tuple(sorted(queues, reverse=True)))
            if target is not None:
                rows += [target, state]
                columns += [state, state]
                rates += [rate, -rate]
    balance = sparse.csc_matrix((rates, (rows, columns))).tolil()
    balance[0] = 1.0  # the probabilities add up to 1, in place of one redundant equation
    right = np.zeros(len(states))
    right[0] = 1.0
    law = spsolve(balance.tocsc(), right)
    return float(np.array([sum(queues) for queues in states]) @ law) / (2.0 * rho)


# Simulation --------------------------------------------------------------------------------------


def simulate(
    cores: tuple[float, ...],
    rate_per_s: float,
    num_jobs: int,
    law: Callable = exponential,
    speeds: tuple[float, ...] | None = None,
    weights: tuple[float, ...] | None = None,
    seed: int = 0,
    **rules,
) -> "Run":
    """One balancer with Poisson arrivals: `REPLICATIONS` copies of `num_jobs` jobs each, all done.

    The same seed gives the same arrivals and work whatever the servers are.
    """
    cluster = Cluster(REPLICATIONS, 1, cores, **rules)
    jobs = np.zeros((REPLICATIONS, num_jobs), JOB)
    for copy in range(REPLICATIONS):
        rng = np.random.default_rng([seed, copy])
        jobs["arrival_s"][copy] = np.cumsum(rng.exponential(1.0 / rate_per_s, num_jobs))
        jobs["work_s"][copy] = law(rng, num_jobs)
        cluster.reset(copy, speeds=speeds)
        cluster.add(
            *(copy, jobs["arrival_s"][copy], jobs["work_s"][copy]),
            balancer=np.zeros(num_jobs, int),
            uniform=rng.random(num_jobs),
        )
    weights = np.ones(len(cores)) if weights is None else np.asarray(weights, float)
    weights = np.broadcast_to(weights, cluster.shape)
    # In parts: the log stays small.
    times_s = [*np.linspace(0.0, jobs["arrival_s"].max(), 50), 1e9]
    jobs["latency_s"] = played(cluster, weights, times_s, num_jobs)
    return Run(cluster, jobs)


class Run(NamedTuple):
    """A cluster that is empty again, and all jobs that it had, [REPLICATIONS, J]."""

    cluster: Cluster
    jobs: np.ndarray

    @property
    def counted(self) -> np.ndarray:
        """The jobs after the warm-up."""
        return self.jobs[:, int(WARM_UP * self.jobs.shape[1]) :]


def latencies(run: Run) -> np.ndarray:
    """Time in the system of the jobs after the warm-up, [REPLICATIONS, J]."""
    return run.counted["latency_s"]


def means(run: Run) -> np.ndarray:
    """Mean time in the system of each replication, [REPLICATIONS]."""
    return latencies(run).mean(axis=1)


def interval(values: np.ndarray) -> tuple[float, float]:
    """The mean over replications and the half-width of its 99.9 % interval, by Student's t."""
    factor = student.ppf(1.0 - _DOUBTS / 2.0, len(values) - 1)
    return float(values.mean()), float(factor * values.std(ddof=1) / math.sqrt(len(values)))


def assert_mean(values: np.ndarray, theory: float, precision: float, error: float = 0.0) -> None:
    """The theory lies in the interval, which is no wider than the precision asked for.

    Args:
        precision: largest half-width, relative to the theory.
        error: half-width of the theory itself, if that was simulated.
    """
    mean, half_width = interval(values)
    assert half_width <= precision * theory, f"{mean} +- {half_width} says too little"
    assert abs(mean - theory) <= half_width + error, f"{mean} +- {half_width}, theory {theory}"
