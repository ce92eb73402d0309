"""The heuristics for the KV cache: what they choose by price and load, and how they rank."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from kv_cases import CROWDED, played

from marlserve.envs.kv_cache import BASELINES, Config, Problem
from marlserve.envs.kv_cache import rewards as problem_rewards
from marlserve.envs.kv_cache.baselines import CONSTANTS

# A synthetic Monday from 9 to 12 in California: the busiest hours of the week.
PEAK = Config(start_time="2024-05-06 16:00:00", episode_hours=3.0)


def chosen(baseline: str, prices=(), waiting=(), busy=(), arrived_per_s=(), **changes) -> list[str]:
    """The names of the actions at these prices and loads, in a copy for each."""
    count = max(len(prices), len(waiting), len(busy))
    baseline = BASELINES[baseline]
    problem = Problem(baseline.configure(Config(**changes)), count)
    observations = problem.reset(range(count))
    measured = problem.measured()._replace(
        usd_per_mwh=np.array(prices) if len(prices) else np.full(count, 50.0),
        waiting_requests=np.array(waiting) if len(waiting) else np.zeros(count),
        busy_servers=np.array(busy) if len(busy) else np.zeros(count),
        arrived_per_s=np.array(arrived_per_s) if len(arrived_per_s) else np.zeros(count),
    )
    problem.measured = lambda: measured
    actions = baseline.policy(problem)({"operator": observations[:, 0]})["operator"]
    return [problem.action_names[action] for action in actions]


@pytest.mark.parametrize("name", CONSTANTS)
@pytest.mark.parametrize("enable_deny", [True, False])
def test_constants(name, enable_deny):
    assert chosen(name, [-50.0, 500.0], [0, 900], enable_deny=enable_deny) == [name] * 2


def test_the_price_rule_of_the_source():
    prices = [-60.0, 19.99, 20.0, 39.99, 40.0, 59.99, 60.0, 900.0]
    expected = ["fullkv", "snapkv_1024", "snapkv_256", "snapkv_64"]
    assert chosen("price_rule", prices) == list(np.repeat(expected, 2))


def test_smart_deny_beyond_24_that_wait():
    found = chosen("smart_deny", [50.0, 50.0, 10.0], [24, 25, 25], enable_deny=False)
    assert found == ["snapkv_256", "deny", "deny"]
    assert chosen("smart_deny", [10.0] * 2, [12, 13], num_servers=100) == ["fullkv", "deny"]


@pytest.mark.parametrize("reward", ["profit", "source"])
def test_the_tuned_price_rule_takes_the_best_by_the_mean_over_prompts(reward):
    prices = np.linspace(-50.0, 300.0, 71)
    problem = Problem(Config(reward=reward))
    profile, worth = problem.profile, np.zeros((len(prices), 6))
    for config in range(6):
        service_s, energy_j = profile.service_s[config], profile.energy_j[config]
        for i, price in enumerate(prices):
            if reward == "source":
                cost_usd = energy_j * 1.3 * price / 3.6e9
                values = 0.5 + 2.0 * profile.score[config] - np.minimum(cost_usd / 2e-4, 1.0)
            else:  # an idle server would draw 25 W
                cost_usd = (energy_j - 25.0 * service_s) * 1.3 * price / 3.6e9
                values = 2e-4 * profile.score[config] / profile.score[5].mean() - cost_usd
            worth[i, config] = values.mean()
    np.testing.assert_allclose(problem_rewards.expected(problem, prices), worth, rtol=1e-12)
    best = [CONSTANTS[i] for i in worth.argmax(axis=1)]
    assert chosen("tuned_price", prices, reward=reward) == best
    assert len(set(best)) >= 2


def test_load_aware_compresses_most_if_any_waits_or_nearly_all_is_busy():
    price = 10.0  # at which the full cache is best
    waiting, busy = [0, 0, 0, 1, 25], [0, 194, 195, 0, 200]
    expected = ["fullkv", "fullkv", "snapkv_64", "snapkv_64", "snapkv_64"]
    assert chosen("load_aware", [price] * 5, waiting, busy) == expected


def test_load_aware_deny_compresses_earlier_and_denies_while_many_wait():
    waiting, busy = [0, 0, 0, 60, 61], [0, 160, 161, 0, 200]
    expected = ["fullkv", "fullkv", "snapkv_64", "snapkv_64", "deny"]
    assert chosen("load_aware_deny", [10.0] * 5, waiting, busy) == expected


def test_tuned_price_deny_does_nothing_else_while_some_wait():
    prices, waiting = [10.0] * 3 + [900.0], [0, 24, 25, 24]
    by_price = chosen("tuned_price", prices)
    expected = [*by_price[:2], "deny", by_price[3]]
    assert by_price[0] != by_price[3]
    assert chosen("tuned_price_deny", prices, waiting, [200] * 4, enable_deny=False) == expected


def test_rate_aware_deny_compresses_while_more_arrives_than_the_servers_carry():
    service_s = Problem(Config()).profile.service_s[-1].mean()
    carried_per_s = 200 / service_s
    arrived_per_s = np.array([1.19, 1.21, 1.21, 1.19]) * carried_per_s
    found = chosen(
        "rate_aware_deny", [10.0] * 4, [52, 52, 53, 53], [200] * 4, arrived_per_s=arrived_per_s
    )
    assert found == ["fullkv", "snapkv_64", "deny", "deny"]


def test_random_takes_all_actions_alike():
    found = chosen("random", [0.0] * 3500)
    counts = [found.count(name) for name in (*CONSTANTS, "deny")]
    assert min(counts) > 400
    assert "deny" not in chosen("random", [0.0] * 200, enable_deny=False)


def test_only_the_oracle_is_told_more():
    assert [name for name, baseline in BASELINES.items() if baseline.oracle] == ["oracle"]
    for baseline in BASELINES.values():
        configured = baseline.configure(Config(action="continuous", enable_deny=False))
        assert configured.action == "discrete"


@cache
def profits_usd(baseline: str) -> np.ndarray:
    """Of three episodes at the peak, with the same arrivals for all."""
    problem, rewards = played(PEAK, baseline, [0, 1, 2])
    profit_usd = problem.metrics()["profit_usd"]
    np.testing.assert_allclose(rewards.sum(axis=0, dtype=float), profit_usd, rtol=1e-4)
    return profit_usd


@pytest.mark.slow
def test_who_earns_most_at_the_peak():
    """Constants are ruled by congestion; the more a rule knows of it, the better it is."""
    best = np.max([profits_usd(name) for name in CONSTANTS], axis=0)
    assert (best == profits_usd("snapkv_64")).all()
    order = ["random", "load_aware", "load_aware_deny", "oracle"]
    for worse, better in pairwise(order):
        assert (profits_usd(worse) < profits_usd(better)).all(), (worse, better)
    assert (profits_usd("oracle") > best).all()
    assert (profits_usd("oracle") > 1.2 * profits_usd("smart_deny")).all()
    assert (profits_usd("oracle") > 1.1 * profits_usd("load_aware_deny")).all()
    for blind in ("tuned_price", "price_rule"):
        assert (profits_usd(blind) < best).all()


@pytest.mark.parametrize("reward", ["profit", "source"])
def test_the_oracle_plays_batches(reward):
    """A copy is played alike alone and beside others, and planned for anew in its next episode."""
    config = replace(CROWDED, start_time="", reward=reward)
    together, _ = played(config, "oracle", [5, 6])
    for copy, seed in enumerate([5, 6]):
        alone, _ = played(config, "oracle", [seed])
        assert alone.pool.total[0] == together.pool.total[copy]
    problem = Problem(BASELINES["oracle"].configure(config), 2)
    policy = BASELINES["oracle"].policy(problem)
    for seeds in ([8, 9], [5, 6]):
        observations = problem.reset(seeds)
        for _ in range(config.num_steps):
            actions = policy({"operator": observations[:, 0]})["operator"]
            observations = problem.step(actions[:, None])[0]
    np.testing.assert_array_equal(problem.pool.total, together.pool.total)
