"""The load-balancing problem: its rewards and metrics by hand, and the errors of its settings."""

from types import SimpleNamespace

import numpy as np
import pytest

from marlserve.envs.load_balance import BASELINES, REWARDS, Config, Problem
from marlserve.envs.sims.fairness import MEASURES
from marlserve.envs.sims.reservoir import FEATURES as STATISTICS

SCOPES = ["team", "agent"]
FIELDS = [f"{kind}_{name}" for kind in ("fct", "duration") for name in STATISTICS]


def tiny(jobs, **settings) -> Problem:
    """A problem with these jobs, (time_s, work_s, balancer) each, in place of its traffic."""
    settings = {"num_balancers": 2, "cores": (1, 1), "step_s": 0.5, "episode_s": 2.0, **settings}
    problem = Problem(Config(dispatch="round_robin", warm_up_s=0.0, **settings))
    problem.reset([0])
    time_s, work_s, balancer = np.array(jobs, float).T
    given = (time_s, work_s, balancer.astype(int), np.zeros(len(jobs)))
    problem.traffic[0] = SimpleNamespace(draw=lambda: (given, problem.config.num_steps))
    problem.flows_per_step[:] = 2.0
    return problem


def rewards_of(problem: Problem) -> np.ndarray:
    """All rewards of the first copy until its end, [T, K]."""
    rewards, over = [], False
    while not over:
        _, reward, _, over = problem.step(np.zeros((1, 2, problem.config.num_servers), int))
        rewards.append(reward[0])
    return np.array(rewards)


# By round robin of each balancer: the first goes to server 0 and shares it from 0.5 s on with the
# second, which balancer 1 sends there; the third, of balancer 0, has server 1 for itself.
JOBS = [(0.0, 1.0, 0), (0.5, 1.0, 1), (1.0, 0.5, 0)]


# Metrics -----------------------------------------------------------------------------------------


def test_metrics_of_a_small_case():
    problem = tiny(JOBS)
    rewards_of(problem)
    metrics = {name: values[0] for name, values in problem.metrics().items()}
    latency_s = [1.5, 1.5, 0.5]
    assert metrics["completed"] == 3
    assert metrics["rejected"] == 0
    assert metrics["mean_latency_s"] == pytest.approx(np.mean(latency_s))
    for q in (50, 90, 95, 99):
        assert metrics[f"p{q}_latency_s"] == pytest.approx(np.percentile(latency_s, q))
    assert metrics["utilisation"] == pytest.approx((2.0 + 0.5) / (2 * 2.0))
    jobs = np.array([3.0, 0.5])
    assert metrics["jain_index"] == pytest.approx(jobs.sum() ** 2 / (2 * (jobs**2).sum()))


def test_metrics_before_anything_happened():
    problem = Problem(Config(), 2)
    problem.reset([0, 1])
    for name, values in problem.metrics().items():
        assert values.shape == (2,)
        assert np.all(values == (1.0 if name == "jain_index" else 0.0)), name


def test_rejected_jobs_are_counted():
    problem = tiny([(0.0, 1.0, 0)] * 5, max_running=1, max_backlog=0)
    rewards_of(problem)
    metrics = problem.metrics()
    assert (metrics["completed"][0], metrics["rejected"][0]) == (2, 3)


# Rewards -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("reward", REWARDS)
def test_every_reward_is_finite_and_of_its_scope(reward, scope):
    problem = Problem(Config(reward=reward, reward_scope=scope, episode_s=5.0), 3)
    problem.reset([1, 2, 3])
    seen = []
    for _ in range(problem.config.num_steps):
        rewards = problem.step(np.full((3, 2, 7), 1))[1]
        assert rewards.shape == (3, 2)
        assert np.isfinite(rewards).all()
        seen.append(rewards)
    apart = np.array(seen)[..., 0] != np.array(seen)[..., 1]
    assert apart.any() == (scope == "agent")
    assert np.std(seen) > 0.0


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", MEASURES)
def test_fairness_rewards_prefer_equal_servers(name, scope):
    def reward(views) -> np.ndarray:
        config = SimpleNamespace(reward_field="fct_mean", reward_scope=scope)
        views = np.array(views, float)[None]
        return REWARDS[name](SimpleNamespace(config=config, statistic=lambda field: views))

    equal, uneven, worse = [0.2, 0.2, 0.2], [0.1, 0.2, 0.3], [0.05, 0.2, 0.6]
    for one, other in ((equal, uneven), (uneven, worse)):
        assert np.all(reward([one, one]) > reward([other, other]))
    both = reward([equal, worse])
    assert both.shape == (1, 2 if scope == "agent" else 1)
    if scope == "agent":
        assert both[0, 0] > both[0, 1]
    else:  # of the mean view
        middle = np.mean([equal, worse], axis=0)
        np.testing.assert_allclose(both, reward([middle, middle]))


@pytest.mark.parametrize("field", FIELDS)
def test_fairness_of_any_statistic(field):
    problem = Problem(Config(reward="jain_index", reward_field=field, episode_s=2.0))
    problem.reset([3])
    for _ in range(8):
        rewards = problem.step(np.zeros((1, 2, 7), int))[1]
    expected = MEASURES["jain_index"].function(problem.statistic(field).mean(axis=1))
    np.testing.assert_allclose(rewards[0], expected[0], rtol=1e-5)
    assert 1.0 / 7.0 < rewards[0, 0] < 1.0


def test_latency_of_a_small_case():
    # In each half second, by balancer; at 1.5 s only the second flow is left.
    spent_s = np.array([[0.5, 0.0], [0.5, 0.5], [1.0, 0.5], [0.0, 0.5]])
    np.testing.assert_allclose(
        rewards_of(tiny(JOBS, reward="latency")),
        -np.repeat(spent_s.sum(1, keepdims=True), 2, 1) / 2.0,
    )
    agents = rewards_of(tiny(JOBS, reward="latency", reward_scope="agent"))
    np.testing.assert_allclose(agents, -spent_s / 1.0)


@pytest.mark.slow
def test_latency_is_the_mean_latency_by_littles_law():
    baseline = BASELINES["sed"]
    problem = Problem(baseline.configure(Config(reward="latency")), 16)
    policy, observations, total = baseline.policy(problem), problem.reset(range(16)), 0.0
    for _ in range(problem.config.num_steps):
        actions = policy({agent: observations[:, i] for i, agent in enumerate(problem.agents)})
        observations, rewards, *_ = problem.step(np.stack(list(actions.values()), axis=1))
        total = total + rewards[:, 0]
    mean_s = -total / problem.config.num_steps
    np.testing.assert_allclose(mean_s, problem.metrics()["mean_latency_s"], rtol=0.1)
    assert mean_s.mean() == pytest.approx(problem.metrics()["mean_latency_s"].mean(), rel=0.02)


def test_slowdown_of_a_small_case():
    # 1.5 s for 1 s of work twice, and 0.5 s for 0.5 s; before any was done, 1.
    one, two = np.array([-1.0, -1.0, -1.25, -1.5]), np.array([-1.0, -1.0, -1.0, -1.5])
    jobs = [(0.0, 1.0, 0), (0.5, 1.0, 1), (0.75, 0.5, 0)]
    team = rewards_of(tiny(jobs, reward="slowdown"))
    np.testing.assert_allclose(team, np.repeat(one[:, None], 2, 1))
    agents = rewards_of(tiny(jobs, reward="slowdown", reward_scope="agent"))
    np.testing.assert_allclose(agents[:, 1], two)


def test_flows_without_work_have_a_slowdown():
    jobs = [(0.0, 1.0, 0), (0.0, 1.0, 0), (0.0, 0.0, 0)]  # the last waits for the first
    rewards = rewards_of(tiny(jobs, reward="slowdown", max_running=1))
    assert np.isfinite(rewards).all()
    assert rewards.min() == pytest.approx(-(1.0 + 1.0 + 1000.0) / 3.0)


@pytest.mark.slow
@pytest.mark.parametrize("reward", ["latency", "slowdown", "excess_slowdown"])
def test_better_weights_earn_more(reward):
    earned = {}
    for name, weights in (("by_cores", [1] * 4 + [6] * 3), ("reversed", [5] * 4 + [0] * 3)):
        levels = tuple(np.linspace(1.0, 2.0, 7).tolist())
        problem = Problem(Config(reward=reward, weight_levels=levels, episode_s=20.0), 8)
        problem.reset(range(8))
        earned[name] = 0.0
        for _ in range(problem.config.num_steps):
            earned[name] += problem.step(np.broadcast_to(weights, (8, 2, 7)))[1].mean()
    assert 0.0 > earned["by_cores"] > earned["reversed"]


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_balancers": 0}, "num_balancers is 0; allowed is whole, at least 1"),
        ({"cores": ()}, r"cores is \(\); allowed is a tuple of at least 1 numbers"),
        ({"cores": (2, 0)}, r"cores is \(2, 0\); allowed is .* numbers from 0.01"),
        ({"drawn_speeds": (1.0, 0.0)}, r"drawn_speeds is \(1.0, 0.0\); allowed is .* from 0.01"),
        ({"reach": "own"}, "cores is .*; allowed is for reach='own', a multiple of 2 servers"),
        ({"reach": "near"}, "reach is 'near'; allowed is one of"),
        ({"dispatch": "jsq"}, "dispatch is 'jsq'; allowed is one of .*'round_robin'"),
        ({"trace": "weekend"}, "trace is 'weekend'; allowed is one of .*'wikipedia'"),
        ({"trace": "flows"}, "trace_path is ''; allowed is a file for trace='flows'"),
        ({"trace_path": "flows.csv"}, "trace_path is 'flows.csv'"),
        ({"split": "validation"}, "split is 'validation'; allowed is one of"),
        ({"load": (0.0, 0.5)}, r"load is \(0.0, 0.5\); allowed is \(low, high\)"),
        ({"load": (0.9, 0.5)}, r"load is \(0.9, 0.5\)"),
        ({"mean_work_s": 0.0}, "mean_work_s is 0.0; allowed is a number from 1e-06"),
        ({"slow_servers": 8}, "slow_servers is 8; allowed is whole, at least 0, at most 7"),
        ({"slow_factor": 1.5}, "slow_factor is 1.5; allowed is 0, or a number from 0.001 to 1"),
        ({"slow_s": (0.0, 1.0)}, r"slow_s is \(0.0, 1.0\)"),
        ({"slow_gap_s": -1.0}, "slow_gap_s is -1.0; allowed is a number from 0 to"),
        ({"step_s": 0.0}, "step_s is 0.0; allowed is a number from 0.001"),
        ({"episode_s": 0.1}, "episode_s is 0.1; allowed is step_s, 0.25, to 3600"),
        ({"episode_s": float("nan")}, "episode_s is nan"),
        ({"action": "alias"}, "action is 'alias'; allowed is one of"),
        ({"weight_levels": (1.0,)}, r"weight_levels is \(1.0,\); allowed is a tuple of at least 2"),
        ({"weight_levels": (0.0, 1.0)}, r"weight_levels is \(0.0, 1.0\)"),
        ({"reward": "makespan"}, "reward is 'makespan'; allowed is one of .*'latency'"),
        ({"reward_field": "mean"}, "reward_field is 'mean'; allowed is one of .*'fct_mean'"),
        ({"reward_scope": "server"}, "reward_scope is 'server'; allowed is one of"),
        ({"reservoir_rule": "newest"}, "reservoir_rule is 'newest'; allowed"),
        ({"max_running": 0}, "max_running is 0"),
        ({"max_backlog": -1}, "max_backlog is -1; allowed is None, or whole, at least 0"),
        ({"slow_s": (1e-3, 1.0)}, r"slow_s is \(0.001, 1.0\); allowed is \(low, high\) with 0.1"),
        ({"warm_up_s": -1.0}, "warm_up_s is -1.0; allowed is a number from 0"),
        ({"warm_up_s": 3541.0}, "warm_up_s is 3541.0; allowed is for trace='wikipedia', 3600 less"),
        ({"mean_work_s": 1e-6, "trace": "poisson"}, "mean_work_s is 1e-06.* allowed are 1000000"),
        ({"cores": (1e4,) * 40}, "load 0.95 of 400000 cores"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Config(**settings)


def test_settings_from_json_and_the_command_line():
    config = Config(cores=[1, 2], load=[0.5, 0.6], weight_levels=[1.0, 2.0])
    assert config == Config(cores=(1, 2), load=(0.5, 0.6), weight_levels=(1.0, 2.0))
    assert hash(config) == hash(Config(cores=(1, 2), load=(0.5, 0.6), weight_levels=(1.0, 2.0)))
    assert (config.num_servers, config.num_steps) == (2, 240)
