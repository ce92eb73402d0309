"""Clusters that hand jobs over: against a second implementation, and what must always hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_grid import Moving, PlainGrid

from marlserve.envs.sims.backfill import BACKFILL, Cluster
from marlserve.envs.sims.backfill_grid import Grid

SIZES = (8, 5, 3)


@st.composite
def workloads(draw, sizes=SIZES) -> dict[str, np.ndarray]:
    """Up to 25 jobs of these clusters, with many ties; users request too much, or too little."""
    rng, count = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.integers(1, 25))
    run_s = rng.integers(1, draw(st.sampled_from([4, 40])), count).astype(float)
    home = rng.integers(0, len(sizes), count)
    return {
        "submit_s": 100.0 + np.cumsum(rng.integers(0, draw(st.sampled_from([2, 8])), count)),
        "run_s": run_s,
        "requested_s": np.ceil(run_s * rng.choice([0.5, 1.0, 1.0, 3.0], count)),
        "processors": rng.integers(1, np.array(sizes)[home] + 1),
        "home": home,
    }


def new_grid(jobs, backfill="easy", sizes=SIZES, transfer_s=5.0, max_migrations=1, slots=None):
    count = len(jobs["run_s"])
    grid = Grid(1, count, sizes, backfill, False, slots or count, transfer_s, max_migrations)
    grid.reset(0, **jobs)
    return grid


def act(grid, rng, stay=False) -> None:
    """A round of random legal decisions; or of starts alone."""
    actions = np.zeros(grid.members.shape, int)
    for k in np.flatnonzero(grid.members["asked"][0]):
        legal = np.flatnonzero(grid.legal[0, k, :1] if stay else grid.legal[0, k])
        actions[0, k] = legal[int(rng.random() * len(legal))]
    grid.step(actions)


def started(grid) -> np.ndarray:
    """All jobs as they have run, in order of their numbers, and where, as a last column."""
    row, job = np.nonzero(grid.jobs["start_s"] >= 0.0)
    found = grid.jobs[row, job]
    order = np.argsort(found["number"])
    return found[order], row[order]


@pytest.mark.parametrize("backfill", BACKFILL)
@settings(max_examples=150)
@given(
    jobs=workloads(),
    seed=st.integers(0, 99),
    transfer_s=st.sampled_from([1.0, 5.0, 30.0]),
    most=st.integers(0, 2),
)
def test_job_by_job_as_the_second_implementation(backfill, jobs, seed, transfer_s, most):
    grid, rng = new_grid(jobs, backfill, SIZES, transfer_s, most), np.random.default_rng(seed)
    while not grid.over[0]:
        act(grid, rng)
    names = ("submit_s", "run_s", "requested_s", "processors")
    rows = zip(*(jobs[name] for name in names), jobs["home"].tolist(), strict=True)
    moving = [Moving(*row[:4], number=i, been=[row[4]]) for i, row in enumerate(rows)]
    plain, draws = PlainGrid(moving, SIZES, backfill, transfer_s, most), np.random.default_rng(seed)
    plain.play(lambda k, options: options[int(draws.random() * len(options))])
    found, where = started(grid)
    expected = sorted(
        (job.number, k, job.start_s, job.backfilled, sum(1 << i for i in job.been))
        for k, cluster in enumerate(plain.clusters)
        for job in cluster.jobs
        if job.start_s > 0
    )
    columns = (found[name] for name in ("number", "start_s", "backfilled", "been"))
    number, start_s, backfilled, been = columns
    assert list(zip(number, where, start_s, backfilled, been, strict=True)) == expected


@settings(max_examples=100)
@given(
    jobs=workloads(),
    seed=st.integers(0, 99),
    backfill=st.sampled_from(list(BACKFILL)),
    transfer_s=st.sampled_from([0.0, 5.0]),
    most=st.integers(0, 2),
    slots=st.integers(1, 25),
)
def test_every_job_runs_once_where_it_fits(jobs, seed, backfill, transfer_s, most, slots):
    grid = new_grid(jobs, backfill, SIZES, transfer_s, most, slots)
    rng, sums = np.random.default_rng(seed), np.zeros(3)
    while not grid.over[0]:
        before_s = grid.clock_s[0]
        act(grid, rng)
        assert grid.clock_s[0] >= before_s
        sums += [grid.steps[x].sum() for x in ("bounded_slowdown", "slowdown", "wait_s")]
        for k, cluster in enumerate(grid.copies):
            runs = (grid.jobs["start_s"][k] >= 0) & (grid.jobs["end_s"][k] > grid.clock_s[0])
            taken = (runs * grid.jobs["processors"][k]).sum()
            assert 0 <= cluster["free"] == SIZES[k] - taken
    found, where = started(grid)
    np.testing.assert_array_equal(found["number"], np.arange(len(jobs["run_s"])))
    for name in ("submit_s", "run_s", "requested_s", "processors"):
        np.testing.assert_array_equal(found[name], jobs[name])
    moves = np.array([int(been).bit_count() - 1 for been in found["been"]])
    assert (moves <= most).all()
    assert ((found["been"] >> where) & 1).all()
    wait_s = found["start_s"] - found["submit_s"]
    assert (wait_s >= moves * transfer_s).all()
    total_s = wait_s + found["run_s"]
    bounded = np.maximum(total_s / np.maximum(found["run_s"], 10.0), 1.0) - 1.0
    expected = [bounded.sum(), (wait_s / found["run_s"]).sum(), wait_s.sum()]
    np.testing.assert_allclose(sums, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=60)
@given(jobs=workloads((8,)), seed=st.integers(0, 99), backfill=st.sampled_from(list(BACKFILL)))
def test_one_cluster_is_the_cluster_to_the_last_bit(jobs, seed, backfill):
    """In every step: what is shown, and what the sums grow by."""
    grid, rng = new_grid(jobs, backfill, (8,)), np.random.default_rng(seed)
    count = len(jobs["run_s"])
    cluster = Cluster(1, count, 8, backfill, slots=count)
    cluster.reset(0, *(jobs[name] for name in list(jobs)[:4]))
    while not cluster.over[0]:
        slot = int(rng.integers(cluster.copies["shown"][0]))
        grid.step([[slot]])
        cluster.step([slot])
        for one, other in (
            *((grid.copies[x], cluster.copies[x]) for x in ("free", "waiting", "running")),
            *((grid.clock_s, cluster.copies["clock_s"]), (grid.over, cluster.over)),
            *((grid.visible, cluster.visible), (grid.steps, cluster.steps)),
            *((grid.jobs[x], cluster.jobs[x]) for x in ("start_s", "end_s", "backfilled")),
        ):
            np.testing.assert_array_equal(one, other)


@settings(max_examples=60)
@given(jobs=workloads(), seed=st.integers(0, 99), backfill=st.sampled_from(list(BACKFILL)))
def test_without_migration_clusters_know_nothing_of_each_other(jobs, seed, backfill):
    """Those that may send, and do not, start jobs as those that may not."""
    order = np.random.default_rng(seed).permutation(len(jobs["run_s"]))
    found = []
    for most in (0, 2):
        grid = new_grid(jobs, backfill, SIZES, 5.0, most)
        while not grid.over[0]:
            job = grid.jobs["number"][np.arange(len(SIZES))[:, None], grid.visible["job"]]
            rank = np.where(grid.legal[0, :, 0], order[job], len(order))
            grid.step(rank.argmin(axis=1)[None])
        found.append(started(grid)[0]["start_s"])
    np.testing.assert_array_equal(*found)
    for k, size in enumerate(SIZES):
        mine = np.flatnonzero(jobs["home"] == k)
        if not len(mine):
            continue
        alone = Cluster(1, len(mine), size, backfill, slots=len(mine))
        alone.reset(0, *(jobs[name][mine] for name in list(jobs)[:4]))
        while not alone.over[0]:
            shown = alone.visible["job"][0][: alone.copies["shown"][0]]
            alone.step([int(order[mine][shown].argmin())])
        np.testing.assert_array_equal(found[0][mine], alone.jobs["start_s"][0])


def test_a_case_by_hand():
    """Cluster 0 is full until 100 s and is kept for a job of all; what comes is sent, or stays."""
    jobs = {
        "submit_s": [0.0, 0.0, 1.0, 2.0],
        "run_s": [100.0, 10.0, 10.0, 10.0],
        "requested_s": [100.0, 10.0, 10.0, 10.0],
        "processors": [8, 8, 4, 2],
        "home": [0, 0, 0, 0],
    }
    grid = new_grid({name: np.array(x) for name, x in jobs.items()}, sizes=(8, 4), slots=4)
    assert grid.members["asked"].tolist() == [[1, 0]]
    assert not grid.legal[0, 0, 1].any(), "neither fits into cluster 1"
    grid.step([[0, 0]])
    grid.step([[0, 0]])  # job 1, for which the cluster is kept; a second later job 2 is there
    assert grid.clock_s[0] == 1.0
    assert np.flatnonzero(grid.legal[0, 0]).tolist() == [0, 5], "to keep all, or to send job 2"
    with pytest.raises(ValueError, match=r"action of cluster 0 of copy 0 is 4; allowed are \[0, 5"):
        grid.step([[4, 0]])
    grid.step([[5, 0]])
    assert grid.steps["wait_s"].sum() == 1 + 5, "job 1 until 2 s, and the way of job 2 at once"
    assert grid.clock_s[0] == 2.0
    grid.step([[0, 0]])  # job 3 stays
    assert grid.clock_s[0] == 6.0
    assert grid.members["asked"].tolist() == [[0, 1]]
    assert np.flatnonzero(grid.legal[0, 1]).tolist() == [0], "job 2 may not go once more"
    assert grid.members["backlog_s"].tolist() == [[(94 * 8 + 10 * 8 + 10 * 2) / 8, 10.0]]
    while not grid.over[0]:
        grid.step([[0, 0]])
    assert started(grid)[0]["start_s"].tolist() == [0.0, 100.0, 6.0, 110.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"processors": [4, 4]}, "processors of job 1 is 4.0; allowed is what it has"),
        ({"home": [0, 2]}, "home of job 1 is 2; allowed is 0 to 1"),
        ({"submit_s": [1.0, 0.0]}, "submit_s of job 1 is 0.0; allowed is sorted times"),
        ({"run_s": [1.0, 0.0]}, "run_s of job 1 is 0.0; allowed is more than 0 s"),
        ({"requested_s": [1.0]}, r"requested_s has shape \(1,\); allowed is \(2,\)"),
    ],
)
def test_bad_jobs_are_named(change, message):
    good = {"submit_s": [0.0, 1.0], "run_s": [1.0, 1.0], "requested_s": [1.0, 1.0]}
    with pytest.raises(ValueError, match=message):
        Grid(1, 2, (8, 3)).reset(0, **(good | {"processors": [1, 3], "home": [0, 1]} | change))


def test_bad_grids_are_named():
    for change, message in (
        ({"sizes": ()}, r"sizes is \(\); allowed are 1 to 16 clusters"),
        ({"sizes": (4, 0)}, r"sizes is \(4, 0\)"),
        ({"transfer_s": -1.0}, "transfer_s is -1.0"),
        ({"max_migrations": -1}, "max_migrations is -1"),
        ({"backfill": "some"}, "backfill is 'some'"),
    ):
        with pytest.raises(ValueError, match=message):
            Grid(**({"num_envs": 1, "num_jobs": 2, "sizes": (8,)} | change))
