"""The load-balancing problem: its presets, traffic, settings, views and metrics."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from load_balance_cases import play
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
    UNKNOWN,
    Config,
    Problem,
)

# Presets and baselines ---------------------------------------------------------------------------


@pytest.mark.slow
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
    left = (problem.cluster.servers["running"] + problem.cluster.servers["waiting"]).sum(axis=1)
    assert np.all(metrics["completed"] > 0.98 * (metrics["completed"] + left))


@pytest.mark.slow
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
        "told_sed",
        "join_shortest_queue",
        "global_sed",
        "told_global_sed",
    }


@pytest.mark.slow
def test_adapting_weights_spare_slow_servers_and_cost_little_else():
    latency_s = {
        (name, slow): play(config, name)[0].metrics()["mean_latency_s"].mean()
        for name in ("sed", "adaptive_sed")
        for slow, config in ((True, DEGRADED), (False, MODERATE))
    }
    assert latency_s["adaptive_sed", True] < 0.95 * latency_s["sed", True]
    assert latency_s["adaptive_sed", False] < 1.02 * latency_s["sed", False]


def test_unknown_speeds_leave_room_that_told_ones_take():
    """A rule that looks at times is far ahead of one that does not, and told ones of both."""
    latency_s = {
        name: play(UNKNOWN, name)[0].metrics()["mean_latency_s"].mean()
        for name in ("sed", "remembering_sed", "told_sed")
    }
    assert latency_s["remembering_sed"] < 0.75 * latency_s["sed"]
    assert latency_s["told_sed"] < 0.9 * latency_s["remembering_sed"]


# What agents see and do --------------------------------------------------------------------------


def test_columns_of_the_observation():
    problem = Problem(MODERATE, 2)
    problem.reset([1, 2])
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
    np.testing.assert_array_equal(one.cluster.copies["arrived"], several.cluster.copies["arrived"])
    latency_s = [problem.metrics()["mean_latency_s"] for problem in (one, several)]
    np.testing.assert_allclose(*latency_s)
