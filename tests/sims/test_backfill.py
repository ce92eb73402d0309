"""The cluster of jobs: against a second implementation, job by job, and what must always hold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_cluster import Job, PlainCluster

from marlserve.envs.sims.backfill import BACKFILL, NONE, Cluster

WAIT_S = 7.0
COLUMNS = ("submit_s", "run_s", "requested_s", "processors")


@st.composite
def workloads(draw, exact: bool = False) -> dict[str, np.ndarray]:
    """Up to 30 jobs for 8 processors, with many ties; users request too much, or too little."""
    rng, count = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.integers(1, 30))
    run_s = rng.integers(1, draw(st.sampled_from([4, 40])), count).astype(float)
    factor = 1.0 if exact else rng.choice([0.5, 1.0, 1.0, 3.0], count)
    gap_s = rng.integers(0, draw(st.sampled_from([2, 12])), count)
    return {
        "submit_s": 100.0 + np.cumsum(gap_s),
        "run_s": run_s,
        "requested_s": np.ceil(run_s * factor),
        "processors": rng.integers(1, 9, count),
    }


def played(jobs, backfill, draws, kill=False, waits=0.0, copies=1) -> Cluster:
    """A cluster after all jobs started; draws in [0, 1) choose from those that wait."""
    cluster = Cluster(
        *(copies, len(jobs["run_s"]), 8, backfill, kill),
        slots=len(jobs["run_s"]),
        wait_s=WAIT_S,
    )
    for copy in range(copies):
        cluster.reset(copy, **jobs)
    done = np.zeros(3)
    for draw in draws:
        if cluster.over.all():
            break
        slot = int(draw * cluster.copies["shown"][0]) if draw >= waits else NONE
        cluster.step([slot] * copies)
        done += [cluster.steps[name][0] for name in ("bounded_slowdown", "slowdown", "wait_s")]
        check_conservation(cluster)
    assert cluster.over.all()
    check_sums(cluster.jobs[0], done)
    return cluster


def check_conservation(cluster: Cluster) -> None:
    jobs, copy = cluster.jobs[0], cluster.copies[0]
    started = jobs["start_s"] >= 0
    runs = started & (jobs["end_s"] > copy["clock_s"])
    assert copy["free"] == 8 - jobs["processors"][runs].sum()
    assert copy["running"] == runs.sum()
    assert copy["started"] == started.sum()
    waits = ~started & (jobs["submit_s"] <= copy["clock_s"])
    np.testing.assert_array_equal(
        cluster.visible[0]["job"][: copy["waiting"]], np.flatnonzero(waits)
    )
    assert (cluster.visible[0]["job"][copy["waiting"] :] == NONE).all()


def check_sums(jobs, done) -> None:
    """What the steps added up is what all jobs came to; and the cluster was never too full."""
    wait_s, run_s = jobs["start_s"] - jobs["submit_s"], jobs["run_s"]
    bounded = np.maximum(1.0, (wait_s + run_s) / np.maximum(run_s, 10.0)) - 1.0
    expected = [bounded.sum(), (wait_s / run_s).sum(), wait_s.sum()]
    np.testing.assert_allclose(done, expected, rtol=1e-9, atol=1e-9)
    assert (wait_s >= 0).all()
    for time_s in jobs["start_s"]:
        runs = (jobs["start_s"] <= time_s) & (time_s < jobs["end_s"])
        assert jobs["processors"][runs].sum() <= 8


def randoms(seed: int) -> list[float]:
    return np.random.default_rng(seed).random(2_000).tolist()


@pytest.mark.parametrize("backfill", BACKFILL)
@settings(max_examples=150)
@given(
    jobs=workloads(), seed=st.integers(0, 99), kill=st.booleans(), waits=st.sampled_from([0, 0.3])
)
def test_job_by_job_as_the_second_implementation(backfill, jobs, seed, kill, waits):
    cluster = played(jobs, backfill, randoms(seed), kill, waits)
    run_s = np.minimum(jobs["run_s"], jobs["requested_s"]) if kill else jobs["run_s"]
    rows = zip(jobs["submit_s"], run_s, jobs["requested_s"], jobs["processors"], strict=True)
    plain, draws = PlainCluster([Job(*row) for row in rows], 8, backfill, WAIT_S), randoms(seed)

    def choose(waiting: list[int]) -> int | None:
        draw = draws.pop(0)
        return waiting[int(draw * len(waiting))] if draw >= waits else None

    plain.play(choose)
    found = cluster.jobs[0]
    np.testing.assert_array_equal(found["start_s"], [job.start_s for job in plain.jobs])
    np.testing.assert_array_equal(found["end_s"], [job.end_s for job in plain.jobs])
    np.testing.assert_array_equal(found["backfilled"], [job.backfilled for job in plain.jobs])


@given(jobs=workloads(exact=True))
def test_first_come_first_served_is_never_worse_with_conservative_backfilling(jobs):
    none, conservative = (
        played(jobs, backfill, [0.0] * 100).jobs[0]["start_s"]
        for backfill in ("none", "conservative")
    )
    assert (conservative <= none).all()


@settings(max_examples=50)
@given(jobs=workloads(exact=True), seed=st.integers(0, 99))
def test_easy_does_not_put_off_who_was_chosen(jobs, seed):
    """With exact limits, the first choice that must wait starts when it would have alone."""
    draws = randoms(seed)
    by_rule = {x: played(jobs, x, draws).jobs[0] for x in ("none", "easy")}
    started = by_rule["easy"]
    if not started["backfilled"].any():
        return
    first_s = started["start_s"][started["backfilled"] > 0].min()
    chosen = started[(started["start_s"] >= first_s) & (started["backfilled"] == 0)]
    if len(chosen):
        alone = by_rule["none"]["start_s"]
        assert chosen["start_s"].min() <= alone[alone >= first_s].min()


def test_a_case_by_hand():
    """Four of 8 are taken and the next job needs all; one is short enough, one is not."""
    jobs = {
        "submit_s": [0.0, 0.0, 1.0, 1.0, 5.0],
        "run_s": [10.0, 10.0, 9.0, 10.0, 3.0],
        "requested_s": [10.0, 20.0, 9.0, 10.0, 3.0],
        "processors": [4, 8, 2, 2, 4],
    }
    jobs = {name: np.array(values) for name, values in jobs.items()}
    # 1 s: job 1 waits for job 0; job 2 ends just in time for it, job 3 a second too late.
    backfilled = [0, 10, 1, 20, 20]
    for backfill, expected in (
        ("none", [0, 10, 20, 20, 20]),
        ("easy", backfilled),
        ("conservative", backfilled),
    ):
        found = played(jobs, backfill, [0.0] * 9).jobs[0]["start_s"]
        np.testing.assert_array_equal(found, expected)


def test_copies_know_nothing_of_each_other():
    rng, jobs = np.random.default_rng(0), {}
    for copy in range(3):
        run_s = rng.integers(1, 30, 20).astype(float)
        jobs[copy] = (np.cumsum(rng.integers(0, 5, 20)), run_s, run_s, rng.integers(1, 9, 20))
    together = Cluster(3, 20, 8, slots=20)
    for copy, columns in jobs.items():
        together.reset(copy, *columns)
    while not together.over.all():
        together.step(np.where(together.over, NONE, together.copies["shown"] - 1))
    for copy, columns in jobs.items():
        alone = Cluster(1, 20, 8, slots=20)
        alone.reset(0, *columns)
        while not alone.over.all():
            alone.step(alone.copies["shown"] - 1)
        np.testing.assert_array_equal(alone.jobs[0], together.jobs[copy])


@settings(max_examples=50)
@given(
    jobs=workloads(),
    seed=st.integers(0, 99),
    backfill=st.sampled_from(list(BACKFILL)),
    chosen=st.integers(0, 10),
)
def test_what_is_foreseen_is_what_comes_if_the_order_is_followed(jobs, seed, backfill, chosen):
    count, rng = len(jobs["run_s"]), np.random.default_rng(seed)
    order = rng.integers(0, 5, (2, count)).astype(float)
    cluster = Cluster(2, count, 8, backfill, slots=count)
    for copy in range(2):
        cluster.reset(copy, **jobs)
    for _ in range(chosen):
        cluster.step(rng.integers(0, np.maximum(cluster.copies["shown"], 1)))
    before = [x.copy() for x in (cluster.copies, cluster.jobs, cluster.visible, cluster.steps)]
    foreseen = cluster.foreseen(order, [0, 1])
    for x, kept in zip(
        (cluster.copies, cluster.jobs, cluster.visible, cluster.steps), before, strict=True
    ):
        np.testing.assert_array_equal(x, kept)
    while not cluster.over.all():
        waits = cluster.visible["job"]
        orders = np.take_along_axis(order, np.maximum(waits, 0), axis=1)
        cluster.step(np.where(waits >= 0, orders, np.inf).argmin(axis=1))
    done = cluster.jobs
    total_s = done["start_s"] + done["run_s"] - done["submit_s"]
    bounded = np.maximum(total_s / np.maximum(done["run_s"], 10.0), 1.0)
    np.testing.assert_allclose(foreseen, bounded.sum(axis=1))


def test_of_many_the_oldest_and_the_shortest_are_shown():
    run_s = np.array([9.0, 8, 7, 6, 5, 4, 3, 2, 1, 10])
    cluster = Cluster(1, 10, 8, slots=4)
    cluster.reset(0, np.zeros(10), run_s, run_s, np.full(10, 1), np.array([5] * 5 + [-1] * 5))
    np.testing.assert_array_equal(cluster.visible[0]["job"], [0, 1, 7, 8])
    cluster.step([3])
    cluster.step([0])
    np.testing.assert_array_equal(cluster.visible[0]["job"], [1, 2, 6, 7])
    np.testing.assert_array_equal(cluster.visible[0]["user_processors"], [1, 1, 0, 0])
    with pytest.raises(ValueError, match=r"copy 0 was to start slot 4; allowed is -1, .* below 4"):
        cluster.step([4])


def test_when_a_job_could_start_at_the_latest_is_shown():
    cluster = Cluster(1, 4, 8, slots=4)
    limits = np.array([10.0, 20.0, 5.0, 5.0])
    cluster.reset(0, np.zeros(4), limits, limits, np.array([4, 3, 2, 8]))
    cluster.step([0])
    cluster.step([0])
    np.testing.assert_array_equal(cluster.visible[0]["start_in_s"], [10.0, 20.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"processors": [1, 9]}, "processors of job 1 is 9; allowed is 1 to 8"),
        ({"processors": [0, 1]}, "processors of job 0 is 0"),
        ({"run_s": [1.0, 0.0]}, "run_s of job 1 is 0.0; allowed is more than 0 s"),
        ({"requested_s": [math.inf, 1.0]}, "requested_s of job 0 is inf"),
        ({"submit_s": [1.0, 0.0]}, "submit_s of job 1 is 0.0; allowed is sorted times"),
        ({"run_s": [1.0]}, r"run_s has shape \(1,\); allowed is \(2,\)"),
    ],
)
def test_bad_jobs_are_named(change, message):
    good = {"submit_s": [0.0, 1.0], "run_s": [1.0, 1.0], "requested_s": [1.0, 1.0]}
    with pytest.raises(ValueError, match=message):
        Cluster(1, 2, 8).reset(0, **(good | {"processors": [1, 8]} | change))


def test_bad_clusters_are_named():
    for change, message in (
        ({"num_processors": 0}, "num_processors is 0"),
        ({"backfill": "some"}, "backfill is 'some'; allowed are .*'easy'"),
        ({"wait_s": 0.0}, "wait_s is 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            Cluster(**({"num_envs": 1, "num_jobs": 2, "num_processors": 8} | change))
