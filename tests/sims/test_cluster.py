"""What the cluster simulator promises of any cluster, and its errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_latencies import note, played
from scenarios import Scenario, scenarios

from marlserve.envs.sims.cluster import DISPATCH, Cluster
from marlserve.envs.sims.cluster_arrays import SERVER
from marlserve.experiments.benchmarks import reference_cluster


def in_system(cluster: Cluster) -> np.ndarray:
    """Jobs running or waiting, [B, M]."""
    return cluster.servers["running"] + cluster.servers["waiting"]


def sizes_of(cluster: Cluster) -> dict[str, int]:
    """Bytes of every array."""
    arrays = {name: x for name, x in vars(cluster).items() if isinstance(x, np.ndarray)}
    return {name: array.nbytes for name, array in arrays.items()}


def assert_same_servers(one: np.ndarray, other: np.ndarray) -> None:
    for name in set(SERVER.names) - {"top", "first", "last"}:  # say nothing where nobody is
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
    latency_s = np.full((1, len(scenario.time_s)), np.nan)
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
        note(cluster, latency_s)
        assert completed == copy["completed"] == np.isfinite(latency_s).sum()
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
    cluster, latency_s = scenario.played()
    times_s = np.nansum(latency_s)
    assert cluster.servers["flow_s"].sum() == pytest.approx(times_s, abs=1e-6)
    assert cluster.balancers["flow_s"].sum() == pytest.approx(times_s, abs=1e-6)
    busy_s = cluster.servers["busy_core_s"][0]
    assert (busy_s <= cluster.servers["flow_s"][0] + 1e-9).all()
    if not scenario.changes:
        work_s = scenario.work_s[np.isfinite(latency_s)].sum()
        assert busy_s @ scenario.speeds == pytest.approx(work_s, abs=1e-6)


@given(scenario=scenarios())
def test_the_reference_agrees_job_by_job(scenario):
    cluster, compiled_s = scenario.played()
    plain, latency_s = reference(scenario)
    np.testing.assert_allclose(compiled_s, latency_s, rtol=0.0, atol=1e-9)
    assert cluster.copies["rejected"][0] == plain.rejected
    assert cluster.copies["lost"][0] == plain.lost


@given(scenario=scenarios(), cuts=st.lists(st.floats(0.0, 160.0), max_size=30))
def test_many_small_steps_equal_one(scenario, cuts):
    whole, latency_s = scenario.played()
    steps, records = scenario.cluster(), []
    for until_s in [*sorted(cuts), 1e6]:
        steps.advance(scenario.weights[None], until_s)
        lengths, log = steps.completions()
        records.append(log[0, : lengths[0]].copy())
    lengths, log = whole.completions()
    log, records = log[0, : lengths[0]], np.concatenate(records)
    for column in ("pair", "number", "work_s"):
        np.testing.assert_array_equal(records[column], log[column])
    np.testing.assert_allclose(records["value_s"], log["value_s"], rtol=0.0, atol=1e-9)
    np.testing.assert_allclose(scenario.played([*sorted(cuts), 1e6])[1], latency_s, atol=1e-9)


@given(scenario=scenarios(), cuts=st.lists(st.floats(0.0, 160.0), max_size=12))
def test_arrivals_may_be_added_as_the_clock_goes(scenario, cuts):
    """Bit for bit as if they had all been there before, whether what was added is over or not."""
    whole, parts, added = scenario.cluster(), scenario.cluster(), 0
    parts.reset(0, scenario.speeds, scenario.changes)
    for until_s in [*sorted(cuts), 1e6]:
        late = min(
            np.searchsorted(scenario.time_s, until_s, side="right") + 3, len(scenario.time_s)
        )
        parts.add(0, *(values[added:late] for values in scenario.jobs))
        added = late
        for cluster in (whole, parts):
            cluster.advance(scenario.weights[None], until_s)
        lengths, log = whole.completions()
        np.testing.assert_array_equal(parts.completions()[0], lengths)
        np.testing.assert_array_equal(parts.completions()[1][0, : lengths[0]], log[0, : lengths[0]])
        assert_same_servers(parts.servers, whole.servers)


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
        batch.add(copy, *jobs)
    scenario.load(batch, len(others))
    alone = scenario.cluster()
    for step in range(1, 5):
        batch.advance(np.repeat(scenario.weights[None], batch.shape[0], axis=0), step * step_s)
        alone.advance(scenario.weights[None], step * step_s)
        assert_same_servers(batch.servers[-1], alone.servers[0])
        for name in ("copies", "balancers", "ongoing"):
            np.testing.assert_array_equal(getattr(batch, name)[-1], getattr(alone, name)[0])
        for tell in ("completions", "flow_durations"):
            (*_, length), log = getattr(batch, tell)()
            np.testing.assert_array_equal(log[-1, :length], getattr(alone, tell)()[1][0, :length])


@given(scenario=scenarios())
def test_playing_again_repeats_bit_for_bit(scenario):
    cluster, latency_s = scenario.played()
    servers = cluster.servers.copy()
    scenario.load(cluster)
    again = played(cluster, scenario.weights[None], [1e6], len(latency_s))[0]
    np.testing.assert_array_equal(again, latency_s)
    assert_same_servers(cluster.servers, servers)


# Arrays that grow --------------------------------------------------------------------------------


@pytest.mark.parametrize("dispatch", DISPATCH)
@pytest.mark.parametrize("max_running", [None, 40, 1])
def test_growth_changes_nothing(dispatch, max_running):
    scenario = crowd(dispatch, max_running=max_running)
    scenario.changes = [(0.5, 2, 0.0), (1.5, 2, 2.0)]  # all of its jobs go elsewhere
    cluster = scenario.cluster()
    sizes = sizes_of(cluster)
    latency_s = played(cluster, scenario.weights[None], [1.0, 1e6], 400)[0]
    larger = sizes_of(cluster)
    assert all(larger[name] > sizes[name] for name in ("_pool", "_log"))
    np.testing.assert_allclose(latency_s, reference(scenario)[1], rtol=0.0, atol=1e-9)
    scenario.load(cluster)  # into arrays that are large from the start
    again = played(cluster, scenario.weights[None], [1.0, 1e6], 400)[0]
    np.testing.assert_array_equal(again, latency_s)
    assert sizes_of(cluster) == larger


def test_memory_follows_the_jobs_in_the_system():
    """Twenty times the jobs, added by the second, need no more of it; nor does one server that
    has them all need more than many do."""
    cluster, rng = Cluster(1, 1, (1.0,) * 40), np.random.default_rng(0)
    widths = []
    for second in range(200):
        time_s = second + np.sort(rng.random(30))
        cluster.add(0, time_s, rng.exponential(1.0, 30), np.zeros(30, int), rng.random(30))
        cluster.advance(np.ones(cluster.shape), second + 1.0)
        widths.append(sum(sizes_of(cluster).values()))
    assert widths[-1] == widths[9]
    crowds = []
    for weights in (np.ones(40), np.eye(40)[0]):
        cluster = Cluster(1, 1, (1.0,) * 40)
        cluster.add(0, np.zeros(1000), np.ones(1000), np.zeros(1000, int), rng.random(1000))
        cluster.advance(weights[None, None], 0.5)
        assert in_system(cluster).sum() == 1000
        crowds.append(sizes_of(cluster))
    assert crowds[0] == crowds[1]
