"""The serving pool against queueing theory.

Every figure is a mean over 20 replications with its 99.9 % interval, from fixed seeds. A
precision bounds the width of the interval, relative to the theory, so that no test passes for lack
of data. The number of requests is that of each replication; the first tenth is not counted.
"""

import math

import numpy as np
import pytest
from pool_cases import padded
from queueing import (
    REPLICATIONS,
    WARM_UP,
    assert_mean,
    deterministic,
    erlang_c,
    exponential,
    hyper_exponential,
)

from marlserve.envs.sims.serving_pool import ServingPool

PATIENT = {"max_waiting": 10_000, "timeout_s": 1e9}  # no request is lost


def flows(rate_per_s: float, num_jobs: int, law, num_servers: int, **rules) -> dict:
    """What flows after the warm-up, [REPLICATIONS] each, and in how many seconds.

    Arrivals are Poisson; every request is a prompt of its own, with a work of 1 s in the mean.
    """
    rng, end_s = np.random.default_rng(0), num_jobs / rate_per_s
    warm_s, most = WARM_UP * end_s, 2 * num_jobs
    parts = [[], []]
    for copy in range(REPLICATIONS):
        time_s = np.sort(rng.uniform(0.0, end_s, rng.poisson(num_jobs)))
        prompts = copy * most + np.arange(len(time_s))
        cut = np.searchsorted(time_s, warm_s)
        parts[0].append((time_s[:cut], prompts[:cut]))
        parts[1].append((time_s[cut:], prompts[cut:]))
    work_s = law(rng, REPLICATIONS * most)[None]
    pool = ServingPool(REPLICATIONS, num_servers, work_s, work_s, work_s, **rules)
    actions, prices = np.zeros(REPLICATIONS, np.int64), np.zeros(REPLICATIONS)
    pool.advance(warm_s, actions, prices, padded(parts[0]))
    before = pool.total.copy()
    pool.advance(end_s - warm_s, actions, prices, padded(parts[1]))
    passed = {name: pool.total[name] - before[name] for name in before.dtype.names}
    return passed | {"duration_s": end_s - warm_s}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("c", "rho", "precision"), [(1, 0.7, 0.03), (3, 0.8, 0.05), (20, 0.9, 0.1)]
)
def test_mmc(c, rho, precision):
    """100,000 requests: the wait by Erlang C, as a mean of requests and as one of time."""
    passed = flows(c * rho, 100_000, exponential, c, **PATIENT)
    wait_s = erlang_c(c, rho) - 1.0
    assert_mean(passed["wait_s"] / passed["waits"], wait_s, precision)
    assert_mean(passed["queue_s"] / passed["duration_s"], c * rho * wait_s, precision)
    assert_mean(passed["latency_s"] / passed["completed"], wait_s + 1.0, 0.03)
    assert_mean(passed["busy_s"] / passed["duration_s"] / c, rho, 0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("c", "waiting", "load"), [(1, 4, 0.9), (4, 1, 6.0), (3, 6, 2.4)])
def test_mmck(c, waiting, load):
    """100,000 requests: those that find c + waiting others fail."""
    weights = [load**n / math.factorial(n) for n in range(c + 1)]
    weights += [weights[-1] * (load / c) ** n for n in range(1, waiting + 1)]
    lost = weights[-1] / sum(weights)
    passed = flows(load, 100_000, exponential, c, max_waiting=waiting, timeout_s=1e9)
    assert_mean(passed["failed"] / passed["arrived"], lost, 0.05)
    assert_mean(passed["busy_s"] / passed["duration_s"], load * (1.0 - lost), 0.01)


@pytest.mark.slow
@pytest.mark.parametrize("law", [deterministic, exponential, hyper_exponential])
def test_erlang_b_is_insensitive(law):
    """100,000 requests to 8 servers without a queue: the same share fails by any law of work."""
    lost, load = 1.0, 6.0
    for servers in range(1, 9):
        lost = load * lost / (servers + load * lost)
    passed = flows(load, 100_000, law, 8, max_waiting=0, timeout_s=1.0)
    assert_mean(passed["failed"] / passed["arrived"], lost, 0.05)
    np.testing.assert_array_equal(passed["waits"], passed["arrived"] - passed["failed"])
    assert passed["wait_s"].sum() == passed["queue_s"].sum() == passed["timed_out"].sum() == 0.0


@pytest.mark.parametrize("law", [deterministic, hyper_exponential])
def test_mg_infinity(law):
    """50,000 requests that never wait: as many servers are busy as requests come in a second."""
    passed = flows(50.0, 50_000, law, 200, **PATIENT)
    assert_mean(passed["busy_s"] / passed["duration_s"], 50.0, 0.02)
    assert passed["queue_s"].sum() == 0.0


@pytest.mark.parametrize(("c", "load", "timeout_s"), [(1, 0.9, 2.0), (5, 6.0, 0.5)])
def test_impatience(c, load, timeout_s):
    """100,000 requests to M/M/c whose requests give up after `timeout_s`.

    Let v be the density of the wait that an arrival would have to bear. Those that would give up
    bring no work, so that by level crossings v falls from load * p(c - 1) at 0 by
    exp(-(c - load) x) up to the time-out, and by exp(-c x) beyond it (Gnedenko, Kovalenko 1968).
    """
    below = [load**n / math.factorial(n) for n in range(c)]
    at_0, fallen = load * below[-1], math.exp(-(c - load) * timeout_s)
    beyond = at_0 * fallen / c
    lost = beyond / (sum(below) + at_0 * (1.0 - fallen) / (c - load) + beyond)
    passed = flows(load, 100_000, exponential, c, max_waiting=10_000, timeout_s=timeout_s)
    assert_mean(passed["timed_out"] / passed["arrived"], lost, 0.05)
    assert_mean(passed["busy_s"] / passed["duration_s"], load * (1.0 - lost), 0.01)
    assert passed["failed"].sum() == 0.0
