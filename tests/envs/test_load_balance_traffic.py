"""The load-balancing problem: what arrives, servers that slow down, and the warm-up."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from load_balance_cases import play, remembered
from playing import sampled
from queueing import assert_mean, erlang_c

from marlserve.envs.load_balance import (
    DEGRADED,
    FEATURES,
    LARGE,
    MODERATE,
    PRESETS,
    Config,
    Problem,
    traffic,
)


def flows_file(path, work: range) -> str:
    """A recording with one flow in 10 ms, whose sizes grow."""
    lines = [f"{0.01 * i:.2f}\t/dummy.php/?n={n}\n" for i, n in enumerate(work, start=1)]
    path.write_text("time\tquery\n" + "".join(lines))
    return str(path)


def test_the_policy_changes_what_happens_but_not_what_arrives():
    one, other = Problem(MODERATE, 2), Problem(MODERATE, 2)
    arrived = [remembered(problem) for problem in (one, other)]
    for problem in (one, other):
        problem.reset([4, 5])
    equal = np.zeros((2, 2, 7), int)
    skewed = equal + np.array([5, 5, 5, 5, 0, 0, 0])
    for _ in range(8):
        seen, skewed_seen = one.step(equal)[0], other.step(skewed)[0]
    for jobs, same in zip(*arrived, strict=True):
        assert jobs[0] == same[0], "the copy"
        np.testing.assert_array_equal(jobs[1:], same[1:])
    for b in range(2):
        assert (seen[b] != skewed_seen[b]).any()
        small = [problem.cluster.ongoing[b, :, :4].sum() for problem in (one, other)]
        assert small[1] > small[0]


# Traffic -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "hours"), [("train", {1}), ("test", {0}), ("all", {0, 1})])
def test_training_and_test_hours_are_apart(split, hours, monkeypatch):
    windows = []
    load = traffic.traces.load

    def remember(name, rng, **options):
        windows.append((options["start_s"], options["start_s"] + options["duration_s"]))
        return load(name, rng, **options)

    monkeypatch.setattr(traffic.traces, "load", remember)
    problem = Problem(Config(split=split, episode_s=1.0, warm_up_s=2.0), 60)
    problem.reset(range(60))
    first, last = np.array(windows).T // 3600.0
    np.testing.assert_array_equal(first, last)
    assert set((first % 2).tolist()) == hours
    assert len(set(first.tolist())) > 20
    assert first.max() < 7 * 24


def test_recorded_flows_are_split_by_time_and_played_at_the_load(tmp_path):
    size = 3_670_000  # 0.2 s
    config = Config(
        trace="flows",
        trace_path=flows_file(tmp_path / "flows.csv", range(size, size + 4000)),
        load=(0.9, 0.9),
        episode_s=5.0,
        warm_up_s=1.0,
    )
    work_s, count = {}, {}
    for split in ("train", "test"):
        jobs = [traffic_of(replace(config, split=split), seed) for seed in range(20)]
        work_s[split] = np.concatenate([work_s for _, work_s, *_ in jobs])
        count[split] = len(work_s[split]) / 20
    assert work_s["train"].max() < work_s["test"].min()
    for split in count:
        assert count[split] * 0.2 / 6.0 == pytest.approx(0.9 * 20, rel=0.03)
    with pytest.raises(ValueError, match="duration_s is 61.0; the trace covers"):
        Problem(replace(config, episode_s=60.0)).reset()
    problem = Problem(config, 20)
    problem.reset()
    assert problem.step(sampled(problem, np.random.default_rng(0)))[1].shape == (20, 2)


@pytest.mark.parametrize("trace", ["poisson", "bursts"])
def test_synthetic_traffic_has_the_rate_of_the_load(trace):
    config = Config(trace=trace, load=(0.5, 0.5), mean_work_s=0.1, warm_up_s=5.0)
    problem = Problem(config, 10)
    problem.reset(range(10))
    np.testing.assert_allclose(problem.flows_per_step, 100.0 * 0.25)
    jobs = [traffic_of(config, seed) for seed in range(40)]
    rate_per_s = sum(len(time_s) for time_s, *_ in jobs) / 40 / 65.0
    assert rate_per_s == pytest.approx(0.5 * 20 / 0.1, rel=0.03 if trace == "poisson" else 0.1)
    work_s = np.concatenate([work_s for _, work_s, *_ in jobs])
    assert work_s.mean() == pytest.approx(0.1, rel=0.03)


@pytest.mark.parametrize("trace", ["wikipedia", "poisson", "bursts"])
def test_traffic_comes_in_stretches_that_fit_together(trace):
    """In order, and with as many arrivals as in one stretch."""
    config, counts = Config(trace=trace, mean_work_s=0.02, warm_up_s=5.0, episode_s=20.0), []
    for seed in range(20):
        whole, parts = traffic_of(config, seed)[0], traffic_of(config, seed, 7)[0]
        assert (np.diff(parts) >= 0.0).all()
        assert -5.0 <= parts[0] < -4.5
        assert 19.5 < parts[-1] <= 20.0
        counts.append((len(whole), len(parts)))
    whole, parts = np.mean(counts, axis=0)
    assert parts == pytest.approx(whole, rel=0.02 if trace != "bursts" else 0.15)


def traffic_of(config: Config, seed: int, stretches: int = 1) -> tuple[np.ndarray, ...]:
    """Times, work, balancers and draws of an episode, drawn in so many stretches."""
    offered_cores = config.load[1] * sum(config.cores)
    episode = traffic.Traffic(config, np.random.default_rng(seed), offered_cores)
    edges_s = np.linspace(-config.warm_up_s, config.episode_s, stretches + 1)
    parts = [episode.jobs(*ends_s) for ends_s in pairwise(edges_s.tolist())]
    return tuple(np.concatenate(values) for values in zip(*parts, strict=True))


def test_traffic_does_not_depend_on_how_much_of_the_last_episode_was_played():
    problem = Problem(MODERATE)
    for steps in (0, 1, 100):
        problem.reset([3])
        for _ in range(steps):
            problem.step(np.zeros((1, 2, 7), int))
        given = remembered(problem)
        problem.reset()
        if steps == 0:
            expected = list(given)
        for jobs, same in zip(given, expected, strict=True):
            np.testing.assert_array_equal(jobs[1:], same[1:])


# Warm-up -----------------------------------------------------------------------------------------


def test_the_warm_up_is_left_out_of_metrics_and_remembered_by_balancers():
    warm, cold = Problem(MODERATE, 2), Problem(replace(MODERATE, warm_up_s=0.0), 2)
    seen, empty = warm.reset([1, 2]), cold.reset([1, 2])
    column = FEATURES.index("last_weight")
    assert not np.delete(empty, [column, column + 1], axis=-1).any()
    np.testing.assert_array_equal(seen[..., column], empty[..., column])
    for name in ("ongoing", "completion_rate", "fct_mean", "duration_discounted_p90"):
        assert (seen[..., FEATURES.index(name)] > 0.0).mean() > 0.9
    assert (warm.cluster.copies["completed"] > 15_000).all()
    np.testing.assert_array_equal(warm.cluster.copies["clock_s"], 0.0)
    for name, values in warm.metrics().items():
        assert np.all(values == (1.0 if name == "jain_index" else 0.0)), name
    before = warm.cluster.copies["completed"].copy()
    warm.step(np.zeros((2, 2, 7), int))
    # Some of those that complete in the first step arrived in the warm-up: their latency is not
    # one of the episode.
    assert (warm.metrics()["completed"] < warm.cluster.copies["completed"] - before).all()
    assert (warm.metrics()["mean_latency_s"] < 0.25).all()
    assert (warm.metrics()["utilisation"] > 0.5).all()


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_an_episode_starts_near_where_it_stays(preset):
    """The jobs in the system, over the first and the last quarter of the episode, at the highest
    load: the mean difference is within three of its standard errors."""
    config = replace(PRESETS[preset], load=(PRESETS[preset].load[1],) * 2, reward="latency")
    _, rewards = play(config, "sed", copies=24)
    quarter = len(rewards) // 4
    first, last = (-part[..., 0].mean(axis=0) for part in (rewards[:quarter], rewards[-quarter:]))
    error = (last - first).std(ddof=1) / np.sqrt(24)
    assert abs((last - first).mean()) < 3.0 * error
    assert error < 0.2 * last.mean()


@pytest.mark.slow
def test_a_warm_start_is_stationary_by_theory():
    """Weighted random choice splits Poisson arrivals: every server is an M/M/k, 4 or 8 cores."""
    config = replace(LARGE, load=(0.9, 0.9), warm_up_s=120.0)
    problem, _ = play(config, "wcmp", copies=48)
    theory_s = 0.2 * (48.0 * erlang_c(4, 0.9) + 96.0 * erlang_c(8, 0.9)) / 144.0
    values_s = problem.metrics()["mean_latency_s"]
    assert_mean(values_s, theory_s, precision=0.1)
    cold, _ = play(replace(config, warm_up_s=0.0), "wcmp", copies=48)
    assert cold.metrics()["mean_latency_s"].mean() < 0.95 * theory_s


@pytest.mark.parametrize("slots", [1, 2, 7])
@pytest.mark.parametrize("gap_s", [0.0, 2.0])
def test_never_more_servers_are_slow_than_asked_for(slots, gap_s):
    config = replace(DEGRADED, slow_servers=slots, slow_gap_s=gap_s, slow_s=(3.0, 4.0))
    used = set()
    for seed in range(30):
        changes = traffic.slowdowns(config, np.random.default_rng(seed), np.ones(7))
        times_s = [time_s for time_s, _, _ in changes]
        assert times_s == sorted(times_s)
        speeds, since_s = np.ones(7), {}
        for index, (time_s, server, speed) in enumerate(changes):
            assert speeds[server] != speed, "every change is one"
            speeds[server] = speed
            if speed < 1.0:
                since_s[server] = time_s
                used.add(server)
            else:
                assert 3.0 <= time_s - since_s[server] <= 4.0
            if index + 1 == len(changes) or times_s[index + 1] > time_s:
                assert (speeds < 1.0).sum() <= slots
                if gap_s == 0.0 and time_s < config.episode_s:
                    assert (speeds < 1.0).sum() == slots
        assert (speeds == 1.0).all()
    assert used == set(range(7))
    assert traffic.slowdowns(MODERATE, np.random.default_rng(0), np.ones(7)) == []


def test_speeds_are_drawn_for_each_episode_and_the_load_is_of_them():
    config = replace(MODERATE, drawn_speeds=(0.5, 0.5, 3.0), load=(0.6, 0.6), warm_up_s=0.0)
    problem = Problem(config, 60)
    problem.reset(range(60))
    servers = problem.cluster.servers
    speeds = servers["speed"].copy()
    assert set(np.unique(speeds)) == {0.5, 3.0}
    assert (speeds == 3.0).mean() == pytest.approx(1 / 3, abs=0.08)  # a third of 420
    assert len(np.unique(speeds, axis=0)) > 30
    offered_s = 0.6 * (servers["cores"] * speeds).sum(axis=1)
    work_s = offered_s * config.step_s / problem.flows_per_step
    np.testing.assert_allclose(work_s, config.expected_work_s)
    assert all(problem.state_space.contains(x) for x in problem.state())
    slow = replace(config, slow_servers=2, slow_factor=0.5)
    for _, server, speed in (scene := traffic.episode(slow, np.random.default_rng(1))).changes:
        assert speed in (scene.speeds[server], 0.5 * scene.speeds[server])


def test_slow_and_failed_servers_in_play():
    for factor in (0.25, 0.0):
        problem = Problem(replace(DEGRADED, slow_factor=factor, episode_s=20.0), 4)
        problem.reset(range(4))
        slow = []
        for _ in range(problem.config.num_steps):
            problem.step(np.full((4, 2, 7), 2))
            speeds = problem.cluster.servers["speed"]
            assert set(np.unique(speeds)) <= {factor, 1.0}
            slow.append((speeds < 1.0).sum(axis=1))
            present = problem.cluster.servers["running"] + problem.cluster.servers["waiting"]
            assert factor > 0.0 or not present[speeds == 0.0].any()
        assert np.max(slow) == 2
        assert np.mean(slow) > 1.0
        copies = problem.cluster.copies
        gone = copies["completed"] + copies["rejected"]
        np.testing.assert_array_equal(copies["arrived"], gone + present.sum(axis=1))
