"""What the cluster simulator promises of any cluster, and its errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenarios import Scenario, scenarios

from marlserve.envs.sims.cluster import DISPATCH, SERVER, Cluster
from marlserve.experiments.benchmarks import reference_cluster


def latencies(cluster: Cluster, copy: int = 0) -> np.ndarray:
    """Of the jobs that arrived, in order; NaN: not complete."""
    return cluster.jobs["latency_s"][copy, : cluster.copies["arrived"][copy]]


def in_system(cluster: Cluster) -> np.ndarray:
    """Jobs running or waiting, [B, M]."""
    return cluster.servers["running"] + cluster.servers["waiting"]


def assert_same_servers(one: np.ndarray, other: np.ndarray) -> None:
    for name in set(SERVER.names) - {"head"}:  # where the ring of waiting jobs begins
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def crowd(dispatch: str, num_jobs: int = 400, **rules) -> Scenario:
    """So many jobs at once that every array has to grow."""
    rng = np.random.default_rng(3)
    return Scenario(
        cores=(1.0, 2.0, 4.0),
        weights=np.array([[1.0, 2.0, 3.0], [1.0, 0.0, 1.0]]),
        time_s=np.sort(rng.uniform(0.0, 1.0, num_jobs)),
        work_s=rng.exponential(1.0, num_jobs),
        balancer=rng.integers(2, size=num_jobs),
        uniform=rng.random(num_jobs),
        speeds=np.ones(3),
        rules={"dispatch": dispatch, **rules},
    )


def reference(scenario: Scenario) -> tuple[reference_cluster.Cluster, np.ndarray]:
    """The same scenario in plain Python: the cluster, and the latencies [J]."""
    cluster = reference_cluster.Cluster(
        scenario.cores, scenario.weights.tolist(), speeds=scenario.speeds, **scenario.rules
    )
    jobs = (values.tolist() for values in scenario.jobs)
    return cluster, np.array(cluster.play(*jobs, scenario.changes))


# Any cluster -------------------------------------------------------------------------------------


@given(scenario=scenarios(), cuts=st.lists(st.floats(0.0, 160.0), max_size=12))
def test_no_job_appears_or_vanishes(scenario, cuts):
    cluster, completed = scenario.cluster(), 0
    for until_s in [*sorted(cuts), 1e6]:
        cluster.advance(scenario.weights[None], until_s)
        copy = cluster.copies[0]
        arrived = np.searchsorted(scenario.time_s, until_s, side="right")
        present = in_system(cluster)
        assert copy["clock_s"] == until_s
        assert copy["arrived"] == arrived
        gone = copy["completed"] + copy["rejected"] + copy["lost"]
        assert arrived == gone + present.sum()
        np.testing.assert_array_equal(cluster.ongoing[0].sum(axis=0), present[0])
        np.testing.assert_array_equal(cluster.ongoing[0].sum(axis=1), cluster.balancers["flows"][0])
        assert (cluster.ongoing >= 0).all()
        lengths, log = cluster.completions()
        completed += lengths[0]
        assert completed == copy["completed"] == np.isfinite(latencies(cluster)).sum()
        assert (log["time_s"][0, : lengths[0]] <= until_s).all()
        numbers, flows = cluster.flow_durations()
        assert numbers[0] == present.sum()
        pairs = np.bincount(flows["pair"][0, : numbers[0]], minlength=cluster.ongoing[0].size)
        np.testing.assert_array_equal(pairs, cluster.ongoing[0].ravel())
        assert (flows["value_s"][0, : numbers[0]] >= 0.0).all()
        limit = scenario.rules["max_running"]
        assert limit is None or (cluster.servers["running"] <= limit).all()
        limit = scenario.rules["max_backlog"]
        assert limit is None or (cluster.servers["waiting"] <= limit).all()
        down = cluster.servers["speed"][0] == 0.0
        assert not present[0, down].any()
    assert in_system(cluster).sum() == 0
    assert not scenario.rules["requeue"] or copy["lost"] == 0


@given(scenario=scenarios(failures=False))
def test_time_in_the_system_adds_up(scenario):
    """Little's law holds as an identity: the integral of the jobs is the sum of their times."""
    cluster = scenario.played()
    times_s = np.nansum(latencies(cluster))
    assert cluster.servers["flow_s"].sum() == pytest.approx(times_s, abs=1e-6)
    assert cluster.balancers["flow_s"].sum() == pytest.approx(times_s, abs=1e-6)
    busy_s = cluster.servers["busy_core_s"][0]
    assert (busy_s <= cluster.servers["flow_s"][0] + 1e-9).all()
    if not scenario.changes:
        done = np.isfinite(latencies(cluster))
        work_s = scenario.work_s[done].sum()
        assert busy_s @ scenario.speeds == pytest.approx(work_s, abs=1e-6)


@given(scenario=scenarios())
def test_the_reference_agrees_job_by_job(scenario):
    cluster = scenario.played()
    plain, latency_s = reference(scenario)
    np.testing.assert_allclose(latencies(cluster), latency_s, rtol=0.0, atol=1e-9)
    assert cluster.copies["rejected"][0] == plain.rejected
    assert cluster.copies["lost"][0] == plain.lost


@given(scenario=scenarios(), cuts=st.lists(st.floats(0.0, 160.0), max_size=30))
def test_many_small_steps_equal_one(scenario, cuts):
    whole, steps, records = scenario.played(), scenario.cluster(), []
    for until_s in [*sorted(cuts), 1e6]:
        steps.advance(scenario.weights[None], until_s)
        lengths, log = steps.completions()
        records.append(log[0, : lengths[0]].copy())
    np.testing.assert_allclose(latencies(steps), latencies(whole), rtol=0.0, atol=1e-9)
    lengths, log = whole.completions()
    records = np.concatenate(records)
    np.testing.assert_array_equal(records["pair"], log[0, : lengths[0]]["pair"])
    np.testing.assert_array_equal(records["work_s"], log[0, : lengths[0]]["work_s"])


@given(
    scenario=scenarios(),
    others=st.lists(scenarios(), min_size=1, max_size=2),
    step_s=st.floats(0.3, 40.0),
)
def test_a_copy_in_a_batch_equals_the_copy_alone(scenario, others, step_s):
    num_balancers = len(scenario.weights)
    batch = Cluster(1 + len(others), num_balancers, scenario.cores, **scenario.rules)
    for copy, other in enumerate(others):  # other jobs, in the same shape of cluster
        jobs = (other.time_s, other.work_s, other.balancer % num_balancers, other.uniform)
        batch.load(copy, *jobs)
    scenario.load(batch, len(others))
    alone = scenario.cluster()
    for step in range(1, 5):
        batch.advance(np.repeat(scenario.weights[None], batch.shape[0], axis=0), step * step_s)
        alone.advance(scenario.weights[None], step * step_s)
        assert_same_servers(batch.servers[-1], alone.servers[0])
        for name in ("copies", "balancers", "ongoing"):
            np.testing.assert_array_equal(getattr(batch, name)[-1], getattr(alone, name)[0])
        np.testing.assert_array_equal(latencies(batch, -1), latencies(alone))


@given(scenario=scenarios())
def test_playing_again_repeats_bit_for_bit(scenario):
    cluster = scenario.played()
    first = latencies(cluster).copy(), cluster.servers.copy()
    scenario.load(cluster)
    cluster.advance(scenario.weights[None], 1e6)
    np.testing.assert_array_equal(latencies(cluster), first[0])
    assert_same_servers(cluster.servers, first[1])


# Arrays that grow --------------------------------------------------------------------------------


@pytest.mark.parametrize("dispatch", DISPATCH)
@pytest.mark.parametrize("max_running", [None, 40, 1])
def test_growth_changes_nothing(dispatch, max_running):
    scenario = crowd(dispatch, max_running=max_running)
    scenario.changes = [(0.5, 2, 0.0), (1.5, 2, 2.0)]  # all of its jobs go elsewhere
    cluster = scenario.cluster()
    before = cluster.flow_durations()[1].shape
    cluster.advance(scenario.weights[None], 1.0)
    assert in_system(cluster).max() > 32 >= before[1]
    cluster.advance(scenario.weights[None], 1e6)
    assert cluster.completions()[0][0] > 64
    np.testing.assert_allclose(latencies(cluster), reference(scenario)[1], rtol=0.0, atol=1e-9)
    again = latencies(cluster).copy()
    scenario.load(cluster)  # into arrays that are large from the start
    cluster.advance(scenario.weights[None], 1.0)
    cluster.advance(scenario.weights[None], 1e6)
    np.testing.assert_array_equal(latencies(cluster), again)


# Errors ------------------------------------------------------------------------------------------


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
        ({"time_s": [1.0, 0.0]}, "time_s must be sorted"),
        ({"time_s": [-1.0, 0.0]}, "time_s must be finite and >= 0"),
        ({"time_s": [0.0, np.inf]}, "time_s must be finite"),
        ({"work_s": [1.0, -1.0]}, "work_s must be finite and >= 0"),
        ({"work_s": [1.0, np.nan]}, "work_s must be finite"),
        ({"uniform": [0.0, 1.0]}, r"uniform must lie in \[0, 1\)"),
        ({"balancer": [0, 2]}, r"balancer must lie in \[0, 2\)"),
        ({"balancer": [-1, 0]}, r"balancer must lie in \[0, 2\)"),
        ({"speeds": [1.0]}, r"speeds must be 2 finite numbers >= 0, not \[1.0\]"),
        ({"speeds": [1.0, -1.0]}, "speeds must be 2 finite numbers >= 0"),
        ({"changes": [(2.0, 0, 1.0), (1.0, 0, 1.0)]}, "changes must be"),
        ({"changes": [(1.0, 2, 1.0)]}, "changes must be"),
        ({"changes": [(1.0, 0, -1.0)]}, "changes must be"),
        ({"changes": [(np.nan, 0, 1.0)]}, "changes must be"),
    ],
)
def test_bad_jobs_are_named_and_leave_the_copy_as_it_was(arguments, message):
    cluster = Cluster(1, 2, [1.0, 1.0])
    cluster.load(0, **GOOD)
    with pytest.raises(ValueError, match=message):
        cluster.load(0, **{**GOOD, **arguments})
    cluster.advance(np.ones((1, 2, 2)), 10.0)
    np.testing.assert_allclose(latencies(cluster), 1.0)


def test_bad_steps_are_named_and_change_nothing():
    cluster = Cluster(1, 1, [1.0])
    cluster.load(0, [0.5], [1.0], [0], [0.0])
    cluster.advance(np.ones((1, 1, 1)), 1.0)
    for weights in (np.ones((1, 1)), np.full((1, 1, 1), -1.0), np.full((1, 1, 1), np.nan)):
        with pytest.raises(ValueError, match=r"weights must be finite and >= 0, of shape \(1, 1"):
            cluster.advance(weights, 2.0)
    for until_s in (0.5, np.nan, np.inf):
        with pytest.raises(ValueError, match="must be finite and not gone by"):
            cluster.advance(np.ones((1, 1, 1)), until_s)
    cluster.advance(np.ones((1, 1, 1)), 2.0)
    np.testing.assert_allclose(latencies(cluster), 1.0)
