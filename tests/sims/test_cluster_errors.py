"""What the cluster simulator refuses, and that this changes nothing."""

import numpy as np
import pytest
from job_latencies import played

from marlserve.envs.sims.cluster import Cluster


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dispatch": "jsq"}, "dispatch is 'jsq'; allowed are .*'round_robin'"),
        ({"cores": []}, r"cores are \[\]"),
        ({"cores": [1.0, 0.0]}, r"cores are \[1.0, 0.0\]; they must be positive"),
        ({"cores": [np.nan]}, r"cores are \[nan\]"),
        ({"cores": [[1.0]]}, r"cores are \[\[1.0\]\]"),
        ({"num_envs": 0}, "num_envs is 0; it must be at least 1"),
        ({"num_balancers": 0}, "num_balancers is 0; it must be at least 1"),
        ({"max_running": 0}, "max_running is 0; it must be at least 1"),
        ({"max_backlog": -1}, "max_backlog is -1; it must be at least 0"),
    ],
)
def test_bad_clusters_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Cluster(**{"num_envs": 1, "num_balancers": 2, "cores": [1.0, 1.0], **arguments})


GOOD = {"time_s": [0.0, 1.0], "work_s": [1.0, 1.0], "balancer": [0, 1], "uniform": [0.0, 0.5]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"work_s": [1.0]}, "must have equal lengths"),
        ({"time_s": [21.0, 20.0]}, "time_s must be sorted"),
        ({"time_s": [0.5, 20.0]}, "time_s must be >= 1.0"),
        ({"time_s": [20.0, np.inf]}, "time_s must be finite"),
        ({"work_s": [1.0, -1.0]}, "work_s must be finite and >= 0"),
        ({"work_s": [1.0, np.nan]}, "work_s must be finite"),
        ({"uniform": [0.0, 1.0]}, r"uniform must lie in \[0, 1\)"),
        ({"balancer": [0, 2]}, r"balancer must lie in \[0, 2\)"),
        ({"balancer": [-1, 0]}, r"balancer must lie in \[0, 2\)"),
    ],
)
def test_bad_jobs_are_named_and_leave_the_copy_as_it_was(arguments, message):
    cluster = Cluster(1, 2, [1.0, 1.0])
    cluster.add(0, **GOOD)
    late = {**GOOD, "time_s": [20.0, 21.0]}
    with pytest.raises(ValueError, match=message):
        cluster.add(0, **{**late, **arguments})
    latency_s = played(cluster, np.ones((1, 2, 2)), [10.0, 30.0], 2)
    np.testing.assert_allclose(latency_s, 1.0)
    with pytest.raises(ValueError, match=r"time_s must be >= 30.0"):
        cluster.add(0, **late)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"speeds": [1.0]}, r"speeds must be 2 finite numbers >= 0, not \[1.0\]"),
        ({"speeds": [1.0, -1.0]}, "speeds must be 2 finite numbers >= 0"),
        ({"changes": [(2.0, 0, 1.0), (1.0, 0, 1.0)]}, "changes must be"),
        ({"changes": [(1.0, 2, 1.0)]}, "changes must be"),
        ({"changes": [(1.0, 0, -1.0)]}, "changes must be"),
        ({"changes": [(np.nan, 0, 1.0)]}, "changes must be"),
        ({"changes": [(1.0, 0, 1.0)], "clock_s": 2.0}, r"changes must be \(time_s >= 2.0 sorted"),
        ({"clock_s": np.inf}, "clock_s is inf; it must be finite"),
    ],
)
def test_bad_beginnings_are_named_and_leave_the_copy_as_it_was(arguments, message):
    cluster = Cluster(1, 2, [1.0, 1.0])
    cluster.add(0, **GOOD)
    with pytest.raises(ValueError, match=message):
        cluster.reset(0, **arguments)
    np.testing.assert_allclose(played(cluster, np.ones((1, 2, 2)), [10.0], 2), 1.0)


def test_bad_steps_are_named_and_change_nothing():
    cluster = Cluster(1, 1, [1.0])
    cluster.add(0, [0.5], [1.0], [0], [0.0])
    cluster.advance(np.ones((1, 1, 1)), 1.0)
    for weights in (np.ones((1, 1)), np.full((1, 1, 1), -1.0), np.full((1, 1, 1), np.nan)):
        with pytest.raises(ValueError, match=r"weights must be finite and >= 0, of shape \(1, 1"):
            cluster.advance(weights, 2.0)
    for until_s in (0.5, np.nan, np.inf):
        with pytest.raises(ValueError, match="must be finite and not gone by"):
            cluster.advance(np.ones((1, 1, 1)), until_s)
    np.testing.assert_allclose(played(cluster, np.ones((1, 1, 1)), [2.0], 1), 1.0)
