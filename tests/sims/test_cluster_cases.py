"""The cluster simulator on small cases, worked out by hand."""

import numpy as np
import pytest
from job_latencies import played

from marlserve.envs.sims.cluster import Cluster
from marlserve.experiments.benchmarks import reference_cluster

ONES = np.ones((1, 1, 1))


def play(cores, jobs, until_s=1e6, weights=None, uniform=0.0, speeds=None, changes=(), **rules):
    """One balancer's cluster after `jobs`, (time_s, work_s) each; and all latencies."""
    time_s, work_s = np.array(jobs, float).reshape(-1, 2).T
    cluster = Cluster(1, 1, cores, **rules)
    cluster.reset(0, speeds, changes)
    draws = np.broadcast_to(uniform, time_s.shape)
    cluster.add(0, time_s, work_s, np.zeros(len(time_s), int), draws)
    weights = np.ones(len(cores)) if weights is None else np.asarray(weights, float)
    return cluster, played(cluster, weights[None, None], [until_s], len(time_s))[0]


def servers_of(cluster: Cluster) -> dict[float, int]:
    """{time of completion: server} in the order of the log."""
    lengths, log = cluster.completions()
    entries = log[0, : lengths[0]]
    servers = entries["pair"] % cluster.shape[2]
    return dict(zip(entries["time_s"].tolist(), servers.tolist(), strict=True))


# Processor sharing -------------------------------------------------------------------------------


def test_jobs_share_a_core():
    # Alone for 1 s, then half the core each: 3 s of work of the first are done at 1 + 2 * 2 = 5.
    _, latency_s = play([1.0], [(0.0, 3.0), (1.0, 4.0)])
    np.testing.assert_allclose(latency_s, [5.0, 6.0])


def test_nobody_gets_more_than_a_core():
    _, latency_s = play([2.0], [(0.0, 1.0), (0.0, 1.0)])
    np.testing.assert_allclose(latency_s, 1.0)
    _, latency_s = play([2.0], [(0.0, 1.0)] * 3)
    np.testing.assert_allclose(latency_s, 1.5)
    _, latency_s = play([0.5], [(0.0, 1.0)])
    np.testing.assert_allclose(latency_s, 2.0)


def test_a_limit_makes_it_first_come_first_served():
    cluster, latency_s = play(
        [1.0], [(0.0, 2.0), (0.0, 1.0), (0.0, 0.5), (1.0, 1.0)], max_running=1
    )
    np.testing.assert_allclose(latency_s, [2.0, 3.0, 3.5, 3.5])
    assert list(servers_of(cluster)) == [2.0, 3.0, 3.5, 4.5]


def test_a_speed_changes_what_is_left():
    changes = [(1.0, 0, 0.5), (3.0, 0, 2.0)]
    _, latency_s = play([1.0], [(0.0, 3.0)], changes=changes)
    np.testing.assert_allclose(latency_s, 1.0 + 2.0 + 0.5)  # 1 s, then 1 s of work, then 1 more
    _, latency_s = play([1.0], [(0.0, 3.0)], speeds=[3.0])
    np.testing.assert_allclose(latency_s, 1.0)


def test_a_job_without_work_is_done_at_once():
    _, latency_s = play([1.0], [(0.0, 2.0), (1.0, 0.0)])
    np.testing.assert_allclose(latency_s, [2.0, 0.0])


# Limits ------------------------------------------------------------------------------------------


def test_a_server_takes_32_and_128_and_no_more():
    cluster, _ = play([4.0], [(0.0, 1.0)] * 161, 0.0, max_running=32, max_backlog=128)
    server, copy = cluster.servers[0, 0], cluster.copies[0]
    assert (server["running"], server["waiting"], copy["rejected"]) == (32, 128, 1)
    cluster, _ = play([4.0], [(0.0, 1.0)] * 160, 0.0, max_running=32, max_backlog=128)
    assert cluster.copies["rejected"][0] == 0
    # All run at an eighth of a core: at 8 s the first 32 are done, and there is room again.
    jobs = [(0.0, 1.0)] * 160 + [(7.999, 1.0), (8.001, 1.0)]
    cluster, latency_s = play([4.0], jobs, max_running=32, max_backlog=128)
    assert cluster.copies["rejected"][0] == 1
    assert np.flatnonzero(np.isnan(latency_s)).tolist() == [160]
    np.testing.assert_allclose(latency_s[:160], np.repeat([8.0, 16.0, 24.0, 32.0, 40.0], 32))


def test_nobody_may_take_it():
    cluster, latency_s = play([1.0, 1.0], [(0.0, 1.0)], weights=[0.0, 0.0])
    assert cluster.copies["rejected"][0] == 1
    assert np.isnan(latency_s).all()


# Simultaneous events -----------------------------------------------------------------------------


def test_completions_come_before_arrivals():
    # Job 2 arrives as server 0 becomes empty; a tie would give it to server 1, of draw 0.5.
    jobs = [(0.0, 1.0), (0.0, 9.0), (1.0, 1.0)]
    cluster, _ = play([1.0, 1.0], jobs, uniform=[0.0, 0.0, 0.5])
    assert servers_of(cluster) == {1.0: 0, 2.0: 0, 9.0: 1}
    cluster, _ = play([1.0], [(0.0, 1.0), (1.0, 1.0)], max_running=1, max_backlog=0)
    assert cluster.copies["rejected"][0] == 0


def test_completions_come_before_failures_and_failures_before_arrivals():
    changes = [(1.0, 0, 0.0)]
    cluster, latency_s = play([1.0, 1.0], [(0.0, 1.0), (1.0, 1.0)], changes=changes, requeue=False)
    np.testing.assert_allclose(latency_s, 1.0)
    assert cluster.copies["lost"][0] == 0
    lengths, log = cluster.completions()
    assert log["pair"][0, : lengths[0]].tolist() == [0, 1]


def test_the_lowest_server_then_the_lowest_job_completes_first():
    jobs = [(0.0, 1.0), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0)]
    cluster, _ = play([2.0, 2.0], jobs, uniform=[0.5, 0.0, 0.5, 0.0])
    lengths, log = cluster.completions()
    assert log["pair"][0, : lengths[0]].tolist() == [0, 0, 1, 1]
    # Two run, and the two in line start by the order of arrival, not of completion.
    jobs = [(0.0, 1.0), (0.0, 1.0), (0.0, 5.0), (0.0, 7.0)]
    _, latency_s = play([2.0], jobs, max_running=2)
    np.testing.assert_allclose(latency_s, [1.0, 1.0, 6.0, 8.0])


def test_changes_at_one_time_are_made_in_the_order_given():
    cluster, _ = play([1.0], [(0.0, 2.0)], 3.0, changes=[(1.0, 0, 4.0), (1.0, 0, 0.5)])
    assert cluster.servers["speed"][0, 0] == 0.5
    assert cluster.completions()[1]["time_s"][0, 0] == 3.0


# Failures ----------------------------------------------------------------------------------------


def test_the_jobs_of_a_failed_server_start_anew_elsewhere_in_order():
    jobs = [(0.0, 2.0), (0.0, 3.0), (0.0, 1.0)]
    rules = {"max_running": 1, "dispatch": "weighted_random"}
    # The draws send all to server 0; it fails at 1 s, with job 0 half done and 1 and 2 waiting.
    cluster, latency_s = play([1.0, 1.0], jobs, changes=[(1.0, 0, 0.0)], **rules)
    np.testing.assert_allclose(latency_s, [3.0, 6.0, 7.0])
    assert servers_of(cluster) == {3.0: 1, 6.0: 1, 7.0: 1}
    cluster, latency_s = play([1.0, 1.0], jobs, changes=[(1.0, 0, 0.0)], requeue=False, **rules)
    assert np.isnan(latency_s).all()
    assert cluster.copies["lost"][0] == 3
    assert not cluster.ongoing.any()


def test_a_failed_server_is_passed_over_until_it_recovers():
    jobs = [(t, 0.1) for t in (0.0, 1.0, 2.0, 3.0)]
    for dispatch in ("round_robin", "power_of_two", "shortest_expected_delay", "weighted_random"):
        changes = [(0.5, 0, 0.0), (2.5, 0, 1.0)]
        cluster, _ = play([1.0, 1.0], jobs, changes=changes, dispatch=dispatch)
        used = list(servers_of(cluster).values())
        assert used[1:3] == [1, 1], dispatch
        assert used[0] == used[3] == 0, dispatch
    cluster, _ = play([1.0], jobs, changes=[(0.5, 0, 0.0), (2.5, 0, 1.0)])
    assert cluster.copies["rejected"][0] == 2
    cluster, latency_s = play([1.0], [(0.0, 1.0)], changes=[(0.5, 0, 0.0)])  # nowhere to go
    assert cluster.copies["rejected"][0] == 1
    assert np.isnan(latency_s).all()


# Rules of dispatch -------------------------------------------------------------------------------


def test_shortest_expected_delay_weighs_the_balancers_own_flows():
    jobs = [(0.0, 9.0)] * 6
    cluster, _ = play([1.0, 2.0], jobs, 1.0, weights=[1.0, 2.0])
    assert cluster.ongoing[0, 0].tolist() == [2, 4]
    # Two balancers: neither sees the flow of the other, only the global rule does.
    for dispatch, expected in (
        ("shortest_expected_delay", [[1, 0], [1, 0]]),
        ("global_shortest_expected_delay", [[1, 0], [0, 1]]),
    ):
        cluster = Cluster(1, 2, [1.0, 1.0], dispatch)
        cluster.add(0, [0.0, 0.0], [1.0, 1.0], [0, 1], [0.0, 0.0])
        cluster.advance(np.ones((1, 2, 2)), 0.5)
        assert cluster.ongoing[0].tolist() == expected


def test_ties_and_random_rules_follow_the_jobs_own_draw():
    draws = (np.arange(1000) + 0.5) / 1000
    rules = {"weights": [1.0, 0.0, 2.0, 1.0], "dispatch": "weighted_random"}
    cluster, _ = play([1.0] * 4, [(0.0, 1.0)] * 1000, 0.0, uniform=draws, **rules)
    assert cluster.ongoing[0, 0].tolist() == [250, 0, 500, 250]
    jobs = [(10.0 * i, 1.0) for i in range(1000)]  # the system is empty each time
    for dispatch in ("shortest_expected_delay", "power_of_two"):
        cluster, _ = play([1.0] * 4, jobs, uniform=draws, dispatch=dispatch)
        lengths, log = cluster.completions()
        assert np.bincount(log["pair"][0, : lengths[0]]).tolist() == [250] * 4


def test_power_of_two_compares_every_pair_equally_often():
    num_servers, seen = 5, np.zeros((5, 5), int)
    draws = (np.arange(400) + 0.5) / 400
    for busy in range(num_servers):
        others = [float(j != busy) for j in range(num_servers)]
        cluster = Cluster(400, 1, np.ones(num_servers), "power_of_two")
        for copy, draw in enumerate(draws):
            cluster.add(copy, [0.0], [1.0], [0], [draw])
        cluster.advance(np.tile(others, (400, 1, 1)), 0.0)  # weight 0: loses to the other one
        seen[busy] = cluster.ongoing[:, 0].sum(axis=0)
    off_diagonal = seen[~np.eye(num_servers, dtype=bool)]
    assert not np.diag(seen).any()
    np.testing.assert_allclose(off_diagonal, 100, atol=1)


def test_round_robin_is_each_balancers_own():
    cluster = Cluster(1, 2, np.ones(3), "round_robin")
    cluster.add(0, np.zeros(7), np.ones(7), [0, 0, 1, 0, 1, 0, 0], np.zeros(7))
    cluster.advance(np.array([[[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]]), 0.0)
    assert cluster.ongoing[0].tolist() == [[2, 2, 1], [0, 1, 1]]


# Statistics --------------------------------------------------------------------------------------


def test_durations_and_integrals_of_a_small_case():
    cluster, _ = play([1.0], [(0.0, 2.0), (0.5, 2.0), (1.0, 2.0)], 1.5, max_running=1)
    lengths, flows = cluster.flow_durations()
    assert flows["value_s"][0, : lengths[0]].tolist() == [1.5, 1.0, 0.5]
    assert set(flows["time_s"][0]) == {1.5}
    assert cluster.servers["flow_s"][0, 0] == cluster.balancers["flow_s"][0, 0] == 3.0
    assert cluster.servers["busy_core_s"][0, 0] == 1.5
    cluster.advance(ONES, 2.0)
    lengths, log = cluster.completions()
    assert log[0, : lengths[0]].tolist() == [(0, 0, 2.0, 2.0, 2.0)]
    cluster.advance(ONES, 2.5)
    assert cluster.completions()[0].tolist() == [0]


def test_simpy_agrees():
    rng = np.random.default_rng(5)
    time_s = np.sort(rng.uniform(0.0, 100.0, 900))
    work_s, balancer = rng.exponential(0.5, 900), rng.integers(2, size=900)
    jobs, weights = (time_s, work_s, balancer, rng.random(900)), np.array([[1, 1, 2], [3, 1, 2.0]])
    cluster = Cluster(1, 2, [1.0, 2.0, 2.0])
    cluster.add(0, *jobs)
    compiled_s = played(cluster, weights[None], [1e6], 900)[0]
    latency_s = reference_cluster.play_with_simpy(
        *(values.tolist() for values in jobs), cores=[1.0, 2.0, 2.0], weights=weights
    )
    np.testing.assert_allclose(compiled_s, latency_s, atol=1e-9)


@pytest.mark.parametrize("copy", [0, 1])
def test_a_reset_copy_leaves_the_other_alone(copy):
    cluster = Cluster(2, 1, [1.0])
    for b in (0, 1):
        cluster.add(b, [0.0, 0.5], [1.0, 1.0], [0, 0], [0.0, 0.0])
    cluster.advance(np.ones((2, 1, 1)), 0.75)
    cluster.reset(copy)
    cluster.add(copy, [0.0], [5.0], [0], [0.0])
    assert cluster.copies["clock_s"].tolist() == [0.75 * copy, 0.75 * (1 - copy)]
    latency_s = played(cluster, np.ones((2, 1, 1)), [9.0], 2)
    assert latency_s[copy, 0] == 5.0
    np.testing.assert_allclose(latency_s[1 - copy], 1.5)
