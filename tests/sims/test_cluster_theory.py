"""The cluster simulator against queueing theory.

Every figure is a mean over 20 replications with its 99.9 % interval, from fixed seeds. A
precision bounds the width of the interval, so that no test passes for lack of data. The number of
jobs is that of each replication; the first tenth is not counted.
"""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from queueing import (
    REPLICATIONS,
    assert_mean,
    deterministic,
    erlang_c,
    exponential,
    hyper_exponential,
    interval,
    latencies,
    means,
    pollaczek_khinchine,
    power_of_two_limit,
    round_robin,
    shortest_of_two,
    simulate,
)

pytestmark = pytest.mark.slow

PRECISION = 0.02
GLOBAL = "global_shortest_expected_delay"
LAWS = [deterministic, exponential, hyper_exponential]
FIFO = {"max_running": 1}
# The paper's shape of a pool: four servers of speed 1 and three of 2, one job at a time.
SEVEN = {"cores": (1.0,) * 7, "speeds": (1.0,) * 4 + (2.0,) * 3, "rate_per_s": 8.0, **FIFO}


@cache
def queue_of(k: int, rho: float, num_jobs: int) -> np.ndarray:
    """Mean times of M/M/k, one queue for all: what no dispatch to k servers can beat."""
    return means(simulate((float(k),), k * rho, num_jobs, max_running=k))


def above_one_queue(values: np.ndarray, k: int, rho: float, num_jobs: int) -> np.ndarray:
    """`values` with the chance of M/M/k on the same jobs taken out: a control variate."""
    return values - queue_of(k, rho, num_jobs) + erlang_c(k, rho)


# One server --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.5, 0.8])
def test_mm1(rho):
    """150,000 jobs. First come first served, T is exponential: its 99th percentile is known."""
    latency_s = latencies(simulate((1.0,), rho, 150_000, **FIFO))
    assert_mean(latency_s.mean(axis=1), 1.0 / (1.0 - rho), PRECISION)
    p99 = np.percentile(latency_s, 99, axis=1)
    assert_mean(p99, np.log(100.0) / (1.0 - rho), 2.0 * PRECISION)


@pytest.mark.parametrize(("k", "rho"), [(2, 0.8), (8, 0.9), (16, 0.9)])
def test_mmk_one_queue(k, rho):
    """100,000 jobs."""
    assert_mean(queue_of(k, rho, 100_000), erlang_c(k, rho), 2.0 * PRECISION)


@pytest.mark.parametrize(("k", "rho"), [(2, 0.8), (8, 0.9)])
def test_mmk_shared_cores(k, rho):
    """100,000 jobs. Sharing leaves the number in the system as it is, work being exponential."""
    assert_mean(means(simulate((float(k),), k * rho, 100_000)), erlang_c(k, rho), 2 * PRECISION)


@pytest.mark.parametrize("law", LAWS)
def test_processor_sharing_is_insensitive(law):
    """100,000 jobs: the mean is 1 / (1 - rho), and x / (1 - rho) for jobs of work x, by any law."""
    rho = 0.7
    jobs = simulate((1.0,), rho, 100_000, law).counted
    assert_mean(jobs["latency_s"].mean(axis=1), 1.0 / (1.0 - rho), 0.03)
    edges = np.quantile(jobs["work_s"], [0.0, 0.25, 0.5, 0.75, 0.95, 1.0])
    for low, high in pairwise(edges):
        here = (jobs["work_s"] >= low) & (jobs["work_s"] <= high)
        slowdown = np.sum(jobs["latency_s"] * here, axis=1) / np.sum(jobs["work_s"] * here, axis=1)
        assert_mean(slowdown, 1.0 / (1.0 - rho), 0.04)


@pytest.mark.parametrize(("law", "scv"), zip(LAWS, [0.0, 1.0, 4.0], strict=True))
def test_first_come_first_served_is_not(law, scv):
    """100,000 jobs, the law of Pollaczek and Khinchine."""
    run = simulate((1.0,), 0.7, 100_000, law, **FIFO)
    assert_mean(means(run), pollaczek_khinchine(0.7, scv), 0.04)


def test_md1_at_high_load():
    """200,000 jobs."""
    run = simulate((1.0,), 0.8, 200_000, deterministic, **FIFO)
    assert_mean(means(run), 3.0, PRECISION)


def test_little_and_utilisation():
    """100,000 jobs on three servers: L = lambda T and busy cores = rho, until the last is done."""
    rates = np.array([1.0, 2.0, 4.0])
    cluster, jobs = simulate(
        tuple(rates), 0.8 * 7, 100_000, dispatch="weighted_random", weights=tuple(rates)
    )
    latency_s = jobs["latency_s"]
    spent_s = cluster.servers["flow_s"].sum(axis=1)
    np.testing.assert_allclose(spent_s, latency_s.sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(cluster.balancers["flow_s"][:, 0], spent_s, rtol=1e-9)
    end_s = np.nanmax(jobs["arrival_s"] + latency_s, axis=1)
    busy = cluster.servers["busy_core_s"] / rates / end_s[:, None]
    for server in range(3):
        assert_mean(busy[:, server], 0.8, PRECISION)
    numbers = cluster.servers["flow_s"] / end_s[:, None]
    for server, cores in enumerate([1, 2, 4]):  # independent M/M/k, by random splitting
        assert_mean(numbers[:, server], 0.8 * cores * erlang_c(cores, 0.8), 0.1)


# Many servers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "rho", "table"), [(8, 0.8, 2.980), (16, 0.9, 5.480)])
def test_round_robin(n, rho, table):
    """100,000 jobs."""
    assert round_robin(n, rho) == pytest.approx(table, abs=5e-4)
    run = simulate((1.0,) * n, n * rho, 100_000, dispatch="round_robin")
    assert_mean(means(run), round_robin(n, rho), 0.04)


def test_power_of_two_of_many_servers():
    """100,000 jobs on 200 servers: the limit of infinitely many, which N servers exceed."""
    assert power_of_two_limit(0.9) == pytest.approx(2.6141, abs=1e-4)
    values = means(simulate((1.0,) * 200, 180.0, 100_000, dispatch="power_of_two"))
    assert_mean(values, 2.6141, 0.015, error=0.02)
    assert_mean(values, 2.608, 0.015, error=0.025)


def test_power_of_two_of_a_few_servers():
    """100,000 jobs on 16 servers; 2.835 +- 0.035 by another simulator, 600,000 jobs in all."""
    values = means(simulate((1.0,) * 16, 14.4, 100_000, dispatch="power_of_two"))
    assert_mean(above_one_queue(values, 16, 0.9, 100_000), 2.835, 0.01, error=0.035)


@pytest.mark.parametrize(("rho", "table"), [(0.8, 2.9557), (0.9, 5.4749)])
def test_join_the_shortest_of_two(rho, table):
    """100,000 jobs against the exact Markov chain."""
    exact = shortest_of_two(rho)
    assert exact == pytest.approx(table, abs=1e-4)
    values = means(simulate((1.0, 1.0), 2.0 * rho, 100_000, dispatch=GLOBAL))
    assert_mean(above_one_queue(values, 2, rho, 100_000), exact, 0.01)


@pytest.mark.parametrize(("rho", "other", "error"), [(0.8, 1.204, 0.016), (0.9, 1.590, 0.026)])
def test_join_the_shortest_of_sixteen(rho, other, error):
    """100,000 jobs; the other figures are by another simulator, 600,000 jobs in all."""
    values = means(simulate((1.0,) * 16, 16.0 * rho, 100_000, dispatch=GLOBAL, **FIFO))
    assert_mean(above_one_queue(values, 16, rho, 100_000), other, 0.01, error)


def test_the_order_of_the_rules():
    """50,000 jobs on 8 servers, the same for all: paired differences, each above its interval."""
    servers, load = (1.0,) * 8, 7.2
    ranked = [
        means(simulate(servers, load, 50_000, dispatch=dispatch))
        for dispatch in ("weighted_random", "round_robin", "power_of_two", GLOBAL)
    ]
    ranked.append(queue_of(8, 0.9, 50_000))
    for worse, better in pairwise(ranked):
        difference, half_width = interval(worse - better)
        assert difference > half_width


# Unequal servers ---------------------------------------------------------------------------------


def test_an_equal_split_over_unequal_servers_is_unstable():
    """20,000 jobs: slow servers get 8/7 of what they can do, so their queues grow without end."""
    jobs = simulate(**SEVEN, num_jobs=20_000, dispatch="weighted_random").counted
    last = jobs["arrival_s"].max(axis=1) + 1.0
    late = np.nanmean(jobs["latency_s"][:, -2000:], axis=1)
    # A job that arrives at t finds (8/7 - 1) t in line before it at four servers of seven.
    assert_mean(late / last, 4.0 / 7.0 * (8.0 / 7.0 - 1.0) * 0.95, 0.2, error=0.005)


@pytest.mark.parametrize(
    ("rules", "theory", "error"),
    [
        ({"dispatch": "weighted_random", "weights": SEVEN["speeds"]}, 3.5, 0.0),
        ({"dispatch": GLOBAL}, 1.144, 0.012),  # the shortest queue
        ({"dispatch": GLOBAL, "weights": SEVEN["speeds"]}, 1.093, 0.018),
    ],
)
def test_unequal_servers(rules, theory, error):
    """200,000 jobs; 3.5 is exact, the others are by another simulator, 600,000 jobs in all."""
    assert_mean(means(simulate(**SEVEN, num_jobs=200_000, **rules)), theory, PRECISION, error)


def test_replications_are_independent():
    values = simulate((1.0,), 0.5, 100).jobs["arrival_s"][:, 0]
    assert len(set(values.tolist())) == REPLICATIONS
