"""Job scheduling: rules come to what was published, rewards to what they say."""

import os
from dataclasses import replace

import numpy as np
import pytest
from playing import sampled

from marlserve.envs import job_scheduling
from marlserve.envs.job_scheduling import BASELINES, FEATURES, INSPECTED, REWARDS, Config
from marlserve.envs.job_scheduling.rules import LASTING, RULES

needs_data = pytest.mark.skipif(
    "MARLSERVE_DATA" not in os.environ, reason="MARLSERVE_DATA names no data folder"
)
SHORT = {"num_jobs": 40, "max_visible": 16}


def played(config, policy="fcfs", num_envs=8, seed=0):
    """A problem that a rule played to the end, and the sums of its rewards, [B]."""
    baseline = BASELINES[policy]
    problem = job_scheduling.Problem(baseline.configure(config), num_envs)
    observations = problem.reset(range(seed, seed + num_envs))
    act, total = baseline.policy(problem), np.zeros(num_envs)
    while not problem.cluster.over.all():
        problem._running[:] = True  # those that are over stay as they are
        chosen = act({"scheduler": observations[:, 0]})["scheduler"]
        over = problem.cluster.over
        observations, rewards, _, _ = problem.step(chosen[:, None])
        total += rewards[:, 0] * ~over
    return problem, total


def log_file(tmp_path, lines):
    path = tmp_path / "log.swf"
    rows = (f"{i} {s} -1 {r} {n} -1 -1 -1 {q} -1 1 {u}{' -1' * 6}" for i, (s, r, n, q, u) in lines)
    path.write_text("; MaxProcs: 8\n" + "\n".join(rows) + "\n")
    return str(path)


# Rules --------------------------------------------------------------------------------------------

# Mean bounded slowdowns of 20 sequences of 256 jobs, by the public code of the reference.
PUBLISHED = {
    **{"fcfs": 2494.0, "sjf": 364.0, "f1": 345.0, "smallest": 377.0},
    **{"fcfs_backfill": 154.0, "sjf_backfill": 93.0, "f1_backfill": 77.0},
    "smallest_backfill": 91.0,
}


@needs_data
@pytest.mark.slow
def test_the_published_table_is_a_sample_of_ours():
    """Within 3 standard errors of 20 sequences beside ours."""
    path = os.path.join(os.environ["MARLSERVE_DATA"], "swf/lublin_256.swf")
    config, count = Config(trace="file", trace_path=path, train_share=0.99), 200
    for name, published in PUBLISHED.items():
        found = played(config, name, num_envs=count)[0].metrics()["mean_bounded_slowdown"]
        error = found.std() * np.sqrt(1 / 20 + 1 / count)
        assert abs(found.mean() - published) < 3 * error, name
        assert error < 0.2 * found.mean(), "or it says nothing"


def test_the_order_of_the_rules():
    slowdown = {
        name: played(Config(), name, num_envs=30)[0].metrics()["mean_bounded_slowdown"].mean()
        for name in ("fcfs", "sjf", "f1", "fcfs_backfill", "area_backfill")
    }
    assert slowdown["fcfs"] > 4 * slowdown["sjf"]
    assert slowdown["sjf"] > slowdown["f1"] > slowdown["fcfs_backfill"]
    assert slowdown["fcfs_backfill"] > 1.5 * slowdown["area_backfill"]


def test_formulas_by_hand():
    seen = job_scheduling.Measured(
        shown_jobs=np.array(3),
        wait_s=np.array([1000.0, 900.0, 500.0, 0.0]),
        requested_s=np.array([100.0, 10.0, 100.0, 0.0]),
        processors=np.array([4.0, 1.0, 64.0, 0.0]),
        start_in_s=np.zeros(4),
        user_processors=np.zeros(4),
        rejections=np.zeros(4),
        time_s=np.array(2000.0),
        free_processors=np.array(8),
        waiting_jobs=np.array(3),
        running_jobs=np.array(0),
        num_processors=np.array(256),
        proposed=np.array(-1),
    )
    expected = {
        "area": [400, 10, 6400],
        "area_and_age": [1400, 1110, 7900],
        "f1": [8 + 2610, 1 + 870 * np.log10(1100), 128 + 870 * np.log10(1500)],
        "f2": [40 + 76_800, np.sqrt(10) + 25_600 * np.log10(1100), 640 + 25_600 * np.log10(1500)],
        "f3": [400 + 3 * 6.86e6, 10 + 6.86e6 * np.log10(1100), 6400 + 6.86e6 * np.log10(1500)],
        "f4": [200 + 1.59e6, 10 + 5.3e5 * np.log10(1100), 800 + 5.3e5 * np.log10(1500)],
        "wfp3": [-4000, -(90**3), -125 * 64],
        "unicef": [-5, -90 / 1e-9, -5 / 6],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(RULES[name](seen)[:3], values, err_msg=name)
    assert set(RULES) == set(expected) | {"fcfs", "sjf", "smallest"}


def test_oracles_are_told_more_only_where_requests_are_not_exact():
    found = {}
    for overestimate in (0.0, 4.0):
        config = Config(overestimate=overestimate, num_jobs=128)
        for name in ("sjf_backfill", "oracle_sjf"):
            problem, _ = played(config, name, num_envs=16)
            found[name, overestimate] = problem.cluster.jobs["start_s"]
    np.testing.assert_array_equal(found["sjf_backfill", 0.0], found["oracle_sjf", 0.0])
    assert (found["sjf_backfill", 4.0] != found["oracle_sjf", 4.0]).any()


# Rewards ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reward", "metric", "sign", "scale", "offset"),
    [
        ("bounded_slowdown", "mean_bounded_slowdown", -1, 1, 1),
        ("slowdown", "mean_slowdown", -1, 1, 1),
        ("wait", "mean_wait_s", -1, 3600, 0),
        ("turnaround", "mean_turnaround_s", -1, 3600, 0),
        ("utilisation", "utilisation", 1, 1, 0),
        ("user_fairness", "max_user_bounded_slowdown", -1, 1, 0),
        ("source", "mean_bounded_slowdown", -1, 1, 0),
    ],
)
def test_rewards_add_up_to_metrics(reward, metric, sign, scale, offset):
    problem, total = played(Config(**SHORT, reward=reward), "sjf")
    expected = sign * problem.metrics()[metric] / scale + offset
    np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-3)
    assert reward in REWARDS


@pytest.mark.parametrize("backfill", ["none", "easy"])
@pytest.mark.parametrize("base", LASTING)
def test_who_chooses_as_the_rule_gains_nothing(base, backfill):
    config = Config(num_jobs=60, max_visible=60, reward="gain", base=base, backfill=backfill)
    problem = job_scheduling.Problem(config, 4)
    problem.reset(range(4))
    while not problem.cluster.over.all():
        problem._running[:], goes_on = True, ~problem.cluster.over
        chosen = BASELINES[base].policy(problem)({})["scheduler"]
        _, rewards, _, _ = problem.step(chosen[:, None])
        np.testing.assert_allclose(rewards[goes_on], 0.0, atol=1e-9)


def test_gains_add_up_to_what_is_saved():
    sjf, gained = played(Config(**SHORT, reward="gain", base="fcfs"), "sjf")
    fcfs, _ = played(Config(**SHORT), "fcfs")
    saved = fcfs.metrics()["mean_bounded_slowdown"] - sjf.metrics()["mean_bounded_slowdown"]
    np.testing.assert_allclose(gained, saved, rtol=1e-4, atol=1e-3)
    assert np.abs(saved).max() > 1.0


def test_users_are_told_apart(tmp_path):
    """The second user's only job waits for all of the first one's."""
    lines = [(i, (0, 100, 8, 100, 1)) for i in range(3)] + [(4, (0, 100, 8, 100, 2))]
    lines += [(9, (10**6, 1, 1, 1, 3)), (10, (10**6, 1, 1, 1, 3))]
    path = log_file(tmp_path, [*lines, *lines])
    config = Config(trace="file", trace_path=path, num_jobs=6, max_visible=4)
    problem = job_scheduling.Problem(config)
    problem.reset([3])
    user_share = FEATURES.index("user_share")
    for _ in range(20):
        if problem._starts[0] == 0:
            break
        problem.reset()
    assert (problem.observations()[0, 0, :, user_share] == 0).all()
    observations, *_ = problem.step(np.array([[0]]))
    np.testing.assert_array_equal(observations[0, 0, :3, user_share], [1.0, 1.0, 0.0])
    for _ in range(5):
        problem.step(np.array([[0]]))
    assert problem.metrics()["max_user_bounded_slowdown"][0] == pytest.approx(4.0)


# Episodes -----------------------------------------------------------------------------------------


def test_slots_without_a_job_stand_for_the_oldest():
    one, other = (job_scheduling.Problem(Config(**SHORT)) for _ in range(2))
    for problem, slot in ((one, 0), (other, 15)):
        problem.reset([4])
        while not problem.cluster.over.all():
            problem.step(np.array([[slot if problem.cluster.copies["shown"][0] <= slot else 0]]))
    np.testing.assert_array_equal(one.cluster.jobs, other.cluster.jobs)


def test_masks_are_the_jobs_that_are_shown():
    problem, rng = job_scheduling.Problem(Config(**SHORT), 4), np.random.default_rng(0)
    problem.reset(range(4))
    while not problem.cluster.over.any():
        mask = problem.action_masks()[:, 0, 0]
        seen = problem.observations()[:, 0, :, FEATURES.index("waits")]
        np.testing.assert_array_equal(mask, seen > 0)
        problem.step(sampled(problem, rng))


def test_an_inspector_that_accepts_is_the_rule():
    config = replace(INSPECTED, **SHORT, base="f1")
    problem = job_scheduling.Problem(config, 8)
    problem.reset(range(8))
    while not problem.cluster.over.all():
        problem._running[:] = True
        problem.step(np.ones((8, 1), int))
    alone, _ = played(config, "f1_backfill")
    np.testing.assert_array_equal(problem.cluster.jobs, alone.cluster.jobs)


def test_long_jobs_that_were_not_put_off_left_processors_free():
    problem, _ = played(Config(max_visible=64), "area_reserving_backfill", num_envs=4)
    for jobs in problem.cluster.jobs:
        assert jobs["rejections"].max() == 3
        chosen = (jobs["rejections"] < 3) & (jobs["backfilled"] == 0)
        for job in jobs[chosen & (jobs["requested_s"] > 600)]:
            runs = (jobs["start_s"] < job["start_s"]) & (jobs["end_s"] > job["start_s"])
            assert jobs["processors"][runs].sum() + job["processors"] <= 192


def test_rejections_are_bounded():
    config = replace(INSPECTED, **SHORT, base="fcfs", max_rejections=3, rejection_s=60.0)
    problem = job_scheduling.Problem(config)
    problem.reset([0])
    before_s, first = problem.cluster.copies["clock_s"][0], problem._proposed[0]
    for rejections in range(3):
        assert problem.action_masks()[0, 0, 0].all()
        assert problem.cluster.visible["rejections"][0, first] == rejections
        problem.step(np.array([[0]]))
        assert 0 < problem.cluster.copies["clock_s"][0] - before_s <= 60.0 * (rejections + 1)
    for _ in range(5_000):
        problem._running[:] = True
        problem.step(np.array([[0]]))
    assert problem.cluster.over.all()
    assert problem.metrics()["rejections"][0] <= 3 * config.num_jobs


def test_splits_of_a_file_share_no_job(tmp_path):
    lines = [(i, (10 * i, 5, 1 + i % 8, 5, -1)) for i in range(100)]
    path = log_file(tmp_path, lines)
    for split, low, high in (("train", 0, 59), ("test", 60, 99)):
        config = Config(**SHORT, trace="file", trace_path=path, split=split, train_share=0.6)
        config = replace(config, num_jobs=20)
        problem, starts = job_scheduling.Problem(config), set()
        for seed in range(80):
            problem.reset([seed])
            submit_s = problem.cluster.jobs["submit_s"][0]
            starts |= {submit_s[0] // 10, submit_s[-1] // 10}
        assert (min(starts), max(starts)) == (low, high)


def test_what_cannot_be_played_is_named(tmp_path):
    path = log_file(tmp_path, [(i, (i, 5, 1, 5, -1)) for i in range(10)])
    with pytest.raises(ValueError, match="num_jobs is 256; the split 'train' has 5 jobs"):
        job_scheduling.Problem(Config(trace="file", trace_path=path))
    with pytest.raises(ValueError, match="trace_path is ''; allowed is a file"):
        Config(trace="file")
    with pytest.raises(ValueError, match="base is 'best'; allowed is one of"):
        Config(base="best")
    with pytest.raises(ValueError, match="base is 'wfp3'; allowed is one of .* reward='gain'"):
        Config(base="wfp3", reward="gain")
