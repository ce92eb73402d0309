"""The KV-cache problem: what the operator does, what it earns, and what is measured."""

from dataclasses import replace

import numpy as np
import pytest
from kv_cases import COPIES, CROWDED, NUM_ACTIONS, crowded, steps

from marlserve import envs
from marlserve.envs.kv_cache import Problem
from marlserve.envs.sims.serving_pool import J_PER_MWH, OUTCOMES

# Actions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("enable_deny", "count"), [(True, 7), (False, 6)])
def test_continuous_actions_are_bins_of_equal_width(enable_deny, count):
    problem = Problem(replace(CROWDED, action="continuous", enable_deny=enable_deny), 3)
    edges = np.linspace(-1.0, 1.0, count + 1)
    for action in range(count):
        inside = [edges[action] + 0.01, edges[action] + 1.0 / count, edges[action + 1] - 0.01]
        assert problem.chosen(np.array(inside)[:, None, None]).tolist() == [action] * 3
    ends = np.array([-1.0, 1.0, 1.0], np.float32)[:, None, None]
    assert problem.chosen(ends).tolist() == [0, count - 1, count - 1]


def test_continuous_and_discrete_actions_do_the_same():
    rng = np.random.default_rng(1)
    actions = rng.integers(NUM_ACTIONS, size=(CROWDED.num_steps, 2))
    discrete, continuous = Problem(CROWDED, 2), Problem(replace(CROWDED, action="continuous"), 2)
    for problem in (discrete, continuous):
        problem.reset([4, 5])
    for action in actions:
        middle = ((2 * action + 1) / NUM_ACTIONS - 1).astype(np.float32)
        expected, reward = discrete.step(action[:, None])[:2]
        found, found_reward = continuous.step(middle[:, None, None])[:2]
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(found_reward, reward)
    continuous.reset()
    with pytest.raises(ValueError, match=r"action of operator is \[1\.5\]; allowed is Box\(-1"):
        continuous.step(np.full((2, 1, 1), 1.5))


def test_actions_go_from_the_strongest_compression_to_none_and_denial():
    problem = Problem(CROWDED)
    names = ("snapkv_64", "snapkv_128", "snapkv_256", "snapkv_512", "snapkv_1024", "fullkv")
    assert problem.action_names == (*names, "deny")
    assert (np.diff(problem.profile.score.mean(axis=1)) > 0).all()
    assert (np.diff(problem.profile.service_s.mean(axis=1)) > 0).all()
    for action, name in enumerate(problem.action_names):
        problem.reset([0])
        for _ in range(3):
            problem.step(np.array([[action]]))
        served = problem.pool.in_system(0)
        assert set(served["config"]) == (set() if name == "deny" else {action})
        metrics = problem.metrics()
        assert metrics[f"share_{name}"] == 1.0
        assert metrics["denial_rate"] == (name == "deny")
    assert envs.make("kv_cache", enable_deny=False).action_space("operator").n == 6


# Rewards and metrics -----------------------------------------------------------------------------


def test_source_is_the_mean_worth_of_what_ended():
    """At the price of the arrival; a time-out or a failure is worth nothing."""
    problem, actions = crowded(reward="source")
    prices, rewards = [], []
    problem.reset([1, 2, 3])
    for action in actions:
        prices.append(problem.price.copy())
        rewards.append(problem.step(action[:, None])[1][:, 0])
        for b, found in enumerate(rewards[-1]):
            ended = problem.pool.records(b)
            price = np.array(prices)[(ended["arrival_s"] // 10.0).astype(int), b]
            cost_usd = ended["energy_j"] * 1.3 / 3.6e9 * price
            worth = 0.5 + 2.0 * ended["score"] - np.minimum(cost_usd / 2e-4, 1.0)
            worth[ended["outcome"] != OUTCOMES["completed"]] = 0.0
            worth[ended["outcome"] == OUTCOMES["denied"]] = -0.1
            assert found == pytest.approx(worth.mean() if len(ended) else 0.0, abs=1e-6)
    mean = np.mean(rewards, axis=0, dtype=float)
    np.testing.assert_allclose(problem.metrics()["mean_source_reward"], mean, rtol=1e-6)


def test_profit_and_metrics_add_up_from_the_records():
    """Of what ended, and of what is still in service at the end."""
    problem, actions = crowded()
    records, prices, profit_usd = [], [], 0.0
    problem.reset([1, 2, 3])
    for action in actions:
        prices.append(problem.price.copy())
        profit_usd = profit_usd + problem.step(action[:, None])[1][:, 0].astype(float)
        records.append([problem.pool.records(b).copy() for b in range(COPIES)])
    metrics = problem.metrics()
    np.testing.assert_allclose(metrics["profit_usd"], profit_usd, rtol=1e-5)
    for b in range(COPIES):
        ended, inside = np.concatenate([parts[b] for parts in records]), problem.pool.in_system(b)
        running = inside[~np.isnan(inside["start_s"])]
        done = ended[ended["outcome"] == OUTCOMES["completed"]]
        # Energy by step: of what was in service, and 25 W for each server that was not.
        edges_s = 10.0 * np.arange(len(actions) + 1)[:, None]
        start_s = np.concatenate([done["start_s"], running["start_s"]])
        end_s = np.concatenate([done["end_s"], running["start_s"] + running["service_s"]])
        served_s = np.minimum(edges_s[1:], end_s) - np.maximum(edges_s[:-1], start_s)
        served_s = np.maximum(served_s, 0.0)  # [K, n]
        power_w = np.concatenate([done["energy_j"], running["energy_j"]]) / (end_s - start_s)
        energy_j = served_s @ power_w + 25.0 * (50 * 10.0 - served_s.sum(axis=1))
        cost_usd = energy_j @ np.array(prices)[:, b] * 1.3 / J_PER_MWH
        revenue_usd = 2e-4 * done["score"].sum() / problem.profile.score[-1].mean()
        left_s = np.where(np.isnan(ended["start_s"]), ended["end_s"], ended["start_s"])
        wait_s = (left_s - ended["arrival_s"]).sum()
        left_s = np.where(np.isnan(inside["start_s"]), 1800.0, inside["start_s"])
        wait_s += (left_s - inside["arrival_s"]).sum()
        number = {name: (ended["outcome"] == i).sum() for name, i in OUTCOMES.items()}
        lost_usd = 1e-4 * (number["timed_out"] + number["failed"]) + 5e-5 * number["denied"]
        arrived = len(ended) + len(inside)
        expected = {
            "revenue_usd": revenue_usd,
            "penalties_usd": 1e-5 * wait_s + lost_usd,
            "energy_j": energy_j.sum(),
            "energy_mwh": energy_j.sum() / 3.6e9,
            "energy_cost_usd": cost_usd,
            "profit_usd": revenue_usd - cost_usd - 1e-5 * wait_s - lost_usd,
            "utilisation": served_s.sum() / 50 / 1800.0,
            "mean_score": done["score"].mean(),
            "mean_latency_s": (done["end_s"] - done["arrival_s"]).mean(),
            "arrived": arrived,
            "success_rate": number["completed"] / arrived,
            "denial_rate": number["denied"] / arrived,
            "timeout_rate": number["timed_out"] / arrived,
            "failure_rate": number["failed"] / arrived,
        }
        for name, value in expected.items():
            assert metrics[name][b] == pytest.approx(value, rel=1e-7), name


def test_metrics_agree_with_each_other():
    problem, actions = crowded()
    for _k, _ in steps(problem, [1, 2, 3], lambda k: actions[k]):
        pass
    m = problem.metrics()
    rates = sum(m[f"{name}_rate"] for name in ("success", "denial", "timeout", "failure"))
    inside = [len(problem.pool.in_system(b)) for b in range(COPIES)]
    np.testing.assert_allclose(rates, 1.0 - np.array(inside) / m["arrived"])
    profit = m["revenue_usd"] - m["energy_cost_usd"] - m["penalties_usd"]
    np.testing.assert_allclose(m["profit_usd"], profit)
    shares = sum(m[f"share_{name}"] for name in problem.action_names)
    np.testing.assert_allclose(shares, 1.0)
    for b in range(COPIES):
        taken = np.bincount(actions[:, b], minlength=NUM_ACTIONS) / len(actions)
        found = [m[f"share_{name}"][b] for name in problem.action_names]
        np.testing.assert_allclose(found, taken)
    for unit in ("wait_s", "latency_s"):
        assert (m[f"p50_{unit}"] <= m[f"p95_{unit}"]).all()
        assert (m[f"p95_{unit}"] <= m[f"p99_{unit}"]).all()
    np.testing.assert_allclose(m["p99_wait_s"], 9.0, atol=0.009)
    assert (m["utilisation"] <= 1.0).all()
    assert set(problem.metrics()) == set(Problem(CROWDED).metrics())


def test_costs_are_the_requests_that_the_floor_wants_served():
    problem, actions = crowded(service_floor=0.9)
    problem.reset(range(COPIES))
    costs = np.zeros((COPIES, 1))
    for action in actions:
        problem.step(action[:, None])
        costs += problem.costs()
    m = problem.metrics()
    lost = (m["denial_rate"] + m["timeout_rate"] + m["failure_rate"] - 0.1) * m["arrived"]
    np.testing.assert_allclose(costs[:, 0], lost, rtol=1e-9)
    np.testing.assert_allclose(m["unserved_beyond_floor"], lost, rtol=1e-9)
    assert (lost > 0.0).all()
    assert crowded()[0].costs() is None


def test_before_anything_happened_all_metrics_are_numbers():
    problem = Problem(replace(CROWDED, enable_deny=False))
    problem.reset([0])
    for name, value in problem.metrics().items():
        assert value == 0.0, name
