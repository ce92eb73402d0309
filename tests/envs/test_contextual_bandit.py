"""The synthetic bandits: their formulas, what they draw, and what belongs to an instance."""

import math

import numpy as np
import pytest

from marlserve import envs
from marlserve.envs.contextual_bandit import (
    BASELINES,
    FUNCTIONS,
    PRESETS,
    Config,
    Problem,
    trained,
)

every_function = pytest.mark.parametrize("function", FUNCTIONS)


def rounds(problem: Problem, count: int, arm: int = 0) -> tuple[np.ndarray, np.ndarray, dict]:
    """Contexts [R, K, d], rewards [R] and metrics {name: [R]} of `count` rounds of every copy."""
    contexts, rewards, metrics = [], [], []
    for _ in range(count):
        contexts.append(problem.reset()[:, 0])
        rewards.append(problem.step(np.full((problem.num_envs, 1), arm))[1][:, 0])
        metrics.append(problem.metrics())
    joined = {name: np.concatenate([each[name] for each in metrics]) for name in metrics[0]}
    return np.concatenate(contexts), np.concatenate(rewards), joined


def batch(num_envs: int, seed: int = 0, **config) -> Problem:
    problem = envs.make_batch("contextual_bandit", num_envs, **config)
    problem.reset(list(range(seed, seed + num_envs)))
    return problem


# Rewards ------------------------------------------------------------------------------------------


@every_function
def test_formulas_written_by_hand(function):
    problem = batch(3, function=function, num_arms=5, dim=4, noise_std=0.0)
    a, matrix = problem.theta, problem.matrix
    contexts, rewards, metrics = rounds(problem, 10, arm=2)
    for seen, reward, *results in zip(contexts, rewards, *metrics.values(), strict=True):
        values = []
        for context in seen.astype(float):
            dot = sum(context[i] * a[i] for i in range(4))
            gram = [[sum(row[i] * row[j] for row in matrix) for j in range(4)] for i in range(4)]
            form = sum(context[i] * gram[i][j] * context[j] for i in range(4) for j in range(4))
            by_name = {"inner_product": 10 * dot * dot, "quadratic": form}
            values.append(by_name.get(function, math.cos(3 * dot)))
        assert reward == pytest.approx(values[2], rel=1e-6)
        expected = [values[2], max(values) - values[2], float(values[2] == max(values))]
        assert results == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert set(metrics) == {"expected_reward", "regret", "best_arm_chosen"}


@every_function
def test_a_fixed_arm_earns_the_mean_over_the_sphere(function):
    """E[(x theta)^2] = 1/d and E[x M x] = trace(M)/d; the cosine's by integrating the marginal."""
    problem = batch(500, function=function)
    density = np.linspace(-1, 1, 20_001)
    weights = (1 - density**2) ** ((20 - 3) / 2)
    means = {
        "inner_product": 10 / 20,
        "quadratic": np.trace(problem.matrix.T @ problem.matrix) / 20,
        "cosine": (weights * np.cos(3 * density)).sum() / weights.sum(),
    }
    _, _, metrics = rounds(problem, 40)
    expected = metrics["expected_reward"]
    error = expected.std() / math.sqrt(len(expected))
    assert abs(expected.mean() - means[function]) < 4 * error
    share = metrics["best_arm_chosen"].mean()
    assert share == pytest.approx(1 / 4, abs=0.02), "the arms are alike"


def test_noise_has_its_deviation_and_does_not_depend_on_the_arm():
    _, rewards, metrics = rounds(batch(500, noise_std=2.0), 40)
    noise = rewards - metrics["expected_reward"]
    assert noise.std() == pytest.approx(2.0, rel=0.03)
    assert abs(noise.mean()) < 4 * 2.0 / math.sqrt(len(noise))
    assert abs(np.corrcoef(noise, metrics["expected_reward"])[0, 1]) < 0.03
    _, others, others_metrics = rounds(batch(500, noise_std=2.0), 1, arm=3)
    np.testing.assert_allclose(others - others_metrics["expected_reward"], noise[:500], atol=1e-5)


# What is drawn ------------------------------------------------------------------------------------


def test_contexts_are_uniform_on_the_sphere():
    contexts, *_ = rounds(batch(500, dim=6), 20)
    flat = contexts.reshape(-1, 6).astype(float)  # 40,000 of them
    np.testing.assert_allclose((flat**2).sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(flat.mean(axis=0), 0.0, atol=0.01)
    np.testing.assert_allclose(flat.T @ flat / len(flat), np.eye(6) / 6, atol=0.005)
    np.testing.assert_allclose((flat**4).mean(axis=0), 3 / (6 * 8), rtol=0.05)  # of the sphere
    between = (contexts[:, 0] * contexts[:, 1]).sum(axis=1)
    assert abs(between.mean()) < 0.02, "arms are drawn on their own"


def test_the_instance_belongs_to_its_seed_alone():
    problem, twin, other = batch(2, seed=0), batch(3, seed=50), batch(2, instance_seed=1)
    for name in ("theta", "matrix"):
        first = getattr(problem, name).copy()
        rounds(problem, 3)
        np.testing.assert_array_equal(getattr(problem, name), first)
        np.testing.assert_array_equal(getattr(twin, name), first)
        assert (getattr(other, name) != first).all()
    for each in (problem, other):
        each.reset([7, 8])
    np.testing.assert_array_equal(problem.contexts, other.contexts)
    assert np.linalg.norm(problem.theta) == pytest.approx(1.0)
    large = Problem(Config(dim=100)).matrix
    assert abs(large.mean()) < 0.04
    assert large.std() == pytest.approx(1.0, rel=0.03)


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_an_episode_with_the_seed_of_the_instance_does_not_show_theta(seed):
    problem = batch(1, instance_seed=seed)
    drawn = np.random.default_rng(seed).standard_normal(2000)
    windows = np.lib.stride_tricks.sliding_window_view(drawn, 20)
    assert (windows @ problem.theta / np.linalg.norm(windows, axis=1)).max() < 0.95


@every_function
def test_a_copy_among_many_plays_the_same_rounds(function):
    many, one = batch(64, function=function), batch(1, seed=40, function=function)
    for _ in range(3):
        np.testing.assert_array_equal(many.expected[40], one.expected[0])
        np.testing.assert_array_equal(many.state()[40], one.state()[0])
        rewards = many.step(np.full((64, 1), 1))[1][40], one.step(np.array([[1]]))[1][0]
        np.testing.assert_array_equal(*rewards)
        for problem in (many, one):
            problem.reset()


# Baselines, settings, pictures --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_only_the_oracle_has_no_regret(preset):
    assert PRESETS[preset].function == preset
    regret = {}
    for name, baseline in BASELINES.items():
        problem = Problem(baseline.configure(PRESETS[preset]), 100)
        policy, shown = baseline.policy(problem), problem.reset(range(100))
        problem.step(policy({"player": shown[:, 0]})["player"][:, None])
        regret[name] = problem.metrics()["regret"]
        assert (problem.metrics()["best_arm_chosen"] == (regret[name] == 0)).all()
    assert not regret["oracle"].any()
    error = regret["random"].std() / 10
    assert regret["random"].mean() > 5 * error
    assert regret["first_arm"].mean() == pytest.approx(regret["random"].mean(), abs=4 * error)


@pytest.mark.slow
@pytest.mark.parametrize("function", ["linear", *FUNCTIONS])
def test_linucb_learns_no_more_than_what_is_linear(function, monkeypatch):
    monkeypatch.setitem(FUNCTIONS, "linear", lambda contexts, theta, matrix: contexts @ theta)
    regrets = trained(Config(function, noise_std=0.1), rounds=1_000)[1]
    anything = rounds(batch(1_000, function=function), 1)[2]["regret"].mean()
    left = regrets[-500:].mean() / anything
    assert left < 0.05 if function == "linear" else left > 0.5


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("function", "linear", r"one of \('inner_product', 'quadratic', 'cosine'\)"),
        ("reward", "regret", r"one of \('noisy',\)"),
        ("num_arms", 1, "whole, at least 2"),
        ("num_arms", 4.0, "whole, at least 2"),
        ("dim", 0, "whole, at least 1"),
        ("instance_seed", -1, "whole, at least 0"),
        ("noise_std", None, "a number from 0 to 1e\\+06"),
        ("dim", True, "whole, at least 1, at most 1000"),
        ("noise_std", -0.5, "a number from 0 to 1e\\+06"),
        ("noise_std", float("nan"), "a number from 0 to 1e\\+06"),
    ],
)
def test_bad_settings_are_errors(field, value, allowed):
    with pytest.raises(ValueError, match=f"{field} is {value!r}; allowed is {allowed}"):
        Config(**{field: value})


def test_nothing_is_counted_before_the_step_and_pictures_tell_the_choice():
    problem = batch(1, function="cosine")
    assert {float(value[0]) for value in problem.metrics().values()} == {0.0}
    assert problem.render(0, "ansi").startswith("cosine, no arm chosen yet\n")
    before = problem.render(0, "rgb_array")
    problem.step(np.array([[2]]))
    lines = problem.render(0, "ansi").splitlines()
    assert lines[0] == "cosine, arm 2 chosen"
    assert [line[0] for line in lines[1:]] == [" ", " ", ">", " "]
    best = lines[1 + problem.expected[0].argmax()]
    assert best.endswith("best")
    assert (problem.render(0, "rgb_array") != before).any()
