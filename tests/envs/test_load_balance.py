"""The load-balancing problem: its presets, traffic, settings, views and metrics."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from playing import sampled

from marlserve import envs
from marlserve.envs import load_balance
from marlserve.envs.load_balance import (
    BASELINES,
    DEGRADED,
    FEATURES,
    LARGE,
    MODERATE,
    PRESETS,
    QUAD,
    Config,
    Problem,
    traffic,
)


def play(config: Config, baseline: str, copies: int = 8) -> tuple[Problem, np.ndarray]:
    """An episode of each copy under a baseline: the problem after it, and all rewards [T, B, K]."""
    baseline = BASELINES[baseline]
    problem = Problem(baseline.configure(config), copies)
    policy, observations, rewards = baseline.policy(problem), problem.reset(range(copies)), []
    over = np.zeros(copies, bool)
    while not over.any():
        actions = policy({agent: observations[:, i] for i, agent in enumerate(problem.agents)})
        joint = np.stack([actions[agent] for agent in problem.agents], axis=1)
        observations, reward, _, over = problem.step(joint)
        rewards.append(reward)
    return problem, np.array(rewards)


def flows_file(path, work: range) -> str:
    """A recording with one flow in 10 ms, whose sizes grow."""
    lines = [f"{0.01 * i:.2f}\t/dummy.php/?n={n}\n" for i, n in enumerate(work, start=1)]
    path.write_text("time\tquery\n" + "".join(lines))
    return str(path)


# Presets and baselines ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "balancers", "cores"),
    [
        (MODERATE, 2, [2] * 4 + [4] * 3),
        (LARGE, 6, [4] * 12 + [8] * 12),
        (QUAD, 4, [4] * 16),
        (DEGRADED, 2, [2] * 4 + [4] * 3),
    ],
)
def test_presets_are_busy_but_stable(preset, balancers, cores):
    """80 to 95 % of the cores work, slow ones too, and the best rule rejects nothing."""
    assert preset in PRESETS.values()
    assert (preset.num_balancers, list(preset.cores)) == (balancers, cores)
    problem, _ = play(preset, "global_sed")
    metrics = problem.metrics()
    assert 0.75 < metrics["utilisation"].mean() < 0.95
    assert metrics["rejected"].sum() == 0
    assert np.all(metrics["completed"] > 0.98 * problem.cluster.copies["arrived"])


def test_the_order_of_the_baselines():
    """On the same traffic; told more, or told the cores, a rule is faster."""
    latency_s = {}
    for name in BASELINES:
        problem, _ = play(MODERATE, name, copies=16)
        latency_s[name] = problem.metrics()["mean_latency_s"].mean()
    order = ["random", "wcmp", "adaptive_wcmp", "power_of_two", "lsq", "sed"]
    for slower, faster in pairwise(order):
        assert latency_s[slower] > latency_s[faster], (slower, faster)
    assert latency_s["lsq"] > latency_s["join_shortest_queue"] > latency_s["global_sed"]
    assert latency_s["sed"] > latency_s["global_sed"] == min(latency_s.values())
    assert {name for name, baseline in BASELINES.items() if baseline.oracle} == {
        "join_shortest_queue",
        "global_sed",
    }


def test_adapting_weights_spare_slow_servers_and_cost_little_else():
    latency_s = {
        (name, slow): play(config, name)[0].metrics()["mean_latency_s"].mean()
        for name in ("sed", "adaptive_sed")
        for slow, config in ((True, DEGRADED), (False, MODERATE))
    }
    assert latency_s["adaptive_sed", True] < 0.95 * latency_s["sed", True]
    assert latency_s["adaptive_sed", False] < 1.02 * latency_s["sed", False]


def test_the_policy_changes_what_happens_but_not_what_arrives():
    one, other = Problem(MODERATE, 2), Problem(MODERATE, 2)
    for problem in (one, other):
        problem.reset([4, 5])
    equal = np.zeros((2, 2, 7), int)
    skewed = equal + np.array([5, 5, 5, 5, 0, 0, 0])
    for _ in range(8):
        seen, skewed_seen = one.step(equal)[0], other.step(skewed)[0]
    for column in ("arrival_s", "work_s", "balancer", "uniform"):
        np.testing.assert_array_equal(one.cluster.jobs[column], other.cluster.jobs[column])
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
    Problem(Config(split=split, episode_s=1.0), 60).reset(range(60))
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
    )
    work_s, count = {}, {}
    for split in ("train", "test"):
        problem = Problem(replace(config, split=split), 20)
        problem.reset(range(20))
        arrived = np.isfinite(problem.cluster.jobs["arrival_s"])
        work_s[split] = problem.cluster.jobs["work_s"][arrived]
        count[split] = arrived.sum() / 20
    assert work_s["train"].max() < work_s["test"].min()
    for split in count:
        assert count[split] * 0.2 / 5.0 == pytest.approx(0.9 * 20, rel=0.03)
    with pytest.raises(ValueError, match="duration_s is 60.0; the trace covers"):
        Problem(replace(config, episode_s=60.0)).reset()
    assert problem.step(sampled(problem, np.random.default_rng(0)))[1].shape == (20, 2)


def test_poisson_traffic_has_the_rate_of_the_load():
    problem = Problem(Config(trace="poisson", load=(0.5, 0.5), mean_work_s=0.1), 10)
    problem.reset(range(10))
    arrived = np.isfinite(problem.cluster.jobs["arrival_s"])
    assert arrived.sum() / 10 / 60.0 == pytest.approx(0.5 * 20 / 0.1, rel=0.03)
    assert problem.cluster.jobs["work_s"][arrived].mean() == pytest.approx(0.1, rel=0.03)
    np.testing.assert_allclose(problem.flows_per_step, 100.0 * 0.25)


@pytest.mark.parametrize("slots", [1, 2, 7])
@pytest.mark.parametrize("gap_s", [0.0, 2.0])
def test_never_more_servers_are_slow_than_asked_for(slots, gap_s):
    config = replace(DEGRADED, slow_servers=slots, slow_gap_s=gap_s, slow_s=(3.0, 4.0))
    used = set()
    for seed in range(30):
        changes = traffic.slowdowns(config, np.random.default_rng(seed))
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
    assert traffic.slowdowns(MODERATE, np.random.default_rng(0)) == []


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


# What agents see and do --------------------------------------------------------------------------


def test_columns_of_the_observation():
    problem = Problem(MODERATE, 2)
    first = problem.reset([1, 2])
    assert not first[..., FEATURES.index("ongoing")].any()
    rng = np.random.default_rng(0)
    for _ in range(20):
        actions = sampled(problem, rng)
        seen = problem.step(actions)[0]
    assert seen.shape == (2, 2, 7, len(FEATURES))
    column = dict(zip(FEATURES, np.moveaxis(seen, -1, 0), strict=True))
    flows = problem.cluster.ongoing
    np.testing.assert_allclose(column["ongoing"], flows / (flows + 4.0), rtol=1e-6)
    np.testing.assert_allclose(column["last_weight"], (1.0 + 0.2 * actions) / 2.0, rtol=1e-6)
    np.testing.assert_array_equal(column["agent_index"], np.broadcast_to([[0], [0.5]], (2, 2, 7)))
    for name in ("fct_mean", "duration_p90", "fct_discounted_mean"):
        shown = problem.statistic(name)
        assert (shown > 0.0).any()
        np.testing.assert_allclose(column[name], shown / (shown + 0.1), rtol=1e-5)
    assert np.abs(column["fct_mean"][:, 0] - column["fct_mean"][:, 1]).max() > 0.0, "own views"


def test_levels_and_real_weights():
    levels = Problem(Config(weight_levels=(1.0, 1.5, 2.0), episode_s=5.0))
    real = Problem(Config(action="weights", episode_s=5.0))
    assert set(levels.action_space.nvec) == {3}
    assert (real.action_space.low.min(), real.action_space.high.max()) == (np.float32(0.1), 10.0)
    rng = np.random.default_rng(3)
    for problem in (levels, real):
        problem.reset([6])
    for _ in range(20):
        actions = rng.integers(3, size=(1, 2, 7))
        levels.step(actions)
        real.step(np.array([1.0, 1.5, 2.0], np.float32)[actions])
        np.testing.assert_array_equal(levels.cluster.ongoing, real.cluster.ongoing)
        np.testing.assert_array_equal(levels.state(), real.state())
    real.reset()
    with pytest.raises(ValueError, match=r"action of lb_1 is \[0\.05"):
        real.step(np.broadcast_to([[1.0], [0.05]], (1, 2, 7)))


@pytest.mark.parametrize("reach", ["all", "own"])
def test_a_balancer_may_be_limited_to_its_own_servers(reach):
    problem = Problem(replace(QUAD, reach=reach, episode_s=2.0))
    problem.reset([0])
    own, reached = np.kron(np.eye(4, dtype=bool), np.ones(4, bool)), np.zeros((4, 16), bool)
    for _ in range(8):
        problem.step(sampled(problem, np.random.default_rng(1)))
        reached |= problem.cluster.ongoing[0] > 0
    np.testing.assert_array_equal(reached, own if reach == "own" else np.ones((4, 16), bool))


def test_observations_and_state_stay_in_their_spaces_at_the_extremes():
    config = load_balance.Config(
        load=(2.0, 2.0), weight_levels=(0.2, 0.5), slow_servers=7, slow_factor=0.0, episode_s=3.0
    )
    problem = load_balance.Problem(config, 2)
    shown, over = problem.reset([0, 1]), np.zeros(2, bool)
    while not over.any():
        assert all(problem.observation_space.contains(x) for x in shown.reshape(-1, 7, 14))
        assert all(problem.state_space.contains(x) for x in problem.state())
        shown, _, _, over = problem.step(np.zeros((2, 2, 7), int))


def test_the_bounds_of_real_weights_are_allowed():
    env = envs.make("load_balance", action="weights", episode_s=1.0)
    env.reset(seed=0)
    env.step({"lb_0": [0.1] * 7, "lb_1": [10.0] * 7})


@pytest.mark.parametrize("preset", [MODERATE, DEGRADED])
def test_one_balancer_by_cores_is_the_oracle_of_several(preset):
    """The same traffic and slow servers for any number of balancers."""
    config = replace(preset, episode_s=15.0)
    one, _ = play(replace(config, num_balancers=1), "sed", 2)
    several, _ = play(replace(config, num_balancers=3), "global_sed", 2)
    np.testing.assert_array_equal(one.cluster.jobs["arrival_s"], several.cluster.jobs["arrival_s"])
    latency_s = [problem.metrics()["mean_latency_s"] for problem in (one, several)]
    np.testing.assert_allclose(*latency_s)
