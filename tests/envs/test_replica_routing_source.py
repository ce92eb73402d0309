"""The agent service's problem: its ten numbers and its reward, by its formula and its examples."""

from dataclasses import replace

import numpy as np
import pytest

from marlserve.envs.replica_routing import SOURCE, Problem, features, source
from marlserve.envs.sims import replica_arrays as has
from marlserve.serving import replica_state

SHORT = replace(SOURCE, episode_s=10.0, warm_up_s=10.0)


@pytest.mark.parametrize(
    ("latency_s", "success", "loads", "earned"),
    [
        (0.2653, True, [5, 4, 7], 0.579),
        (0.265, True, [5, 5, 5], 0.735),
        (1.0, True, [5, 5, 5], 0.0),
        (7.0, True, [5, 5, 5], 0.0),  # the cap
        (0.25, True, [20, 0, 0], -8.14),
        (0.25, True, [0, 0, 50], -54.8),  # less than a failure
        (0.25, False, [5, 5, 5], -10.0),
        (0.25, True, [8], 0.75),
    ],
)
def test_the_reward_is_the_services(latency_s, success, loads, earned):
    found = source.reward(latency_s, success, np.array(loads))
    assert found == pytest.approx(earned, abs=0.01)


def stepped(config=SHORT, seed=0):
    """Each step of an episode, by random choices: the problem before it, and its reward."""
    problem, rng = Problem(config), np.random.default_rng(seed)
    problem.reset([seed])
    while problem._running[0]:
        action = rng.integers(0, 3, (1, 1))
        yield problem, action
        problem.step(action)


def test_what_is_seen_is_what_the_service_shows_its_policies():
    for i, (problem, _) in enumerate(stepped()):
        if i % 20:
            continue
        state = source.states(problem.gateways)[0]
        loads, (queue, latency_s, rps, success, *constants) = state[:3], state[3:]
        made = replica_state.plain(loads, queue, latency_s, rps, success, time_of_day=0.5)
        assert made == replica_state.checked(state, 3)
        assert constants == [0.5, 0.4, 0.5]
        np.testing.assert_array_equal(problem.observations()[0, 0], replica_state.encoded(made))


def test_the_service_takes_a_policy_file_that_was_trained_here():
    """It asks for the names of what a policy reads."""
    assert features(SOURCE) == tuple(name for name, _ in replica_state.features(3))


def test_the_numbers_are_those_of_the_last_minute():
    for problem, _ in stepped(replace(SHORT, episode_s=80.0, load=(0.05, 0.05))):
        now_s = problem.gateways.copies["clock_ns"][0] / 1e9
        if now_s > 85.0:
            break
    requests = problem.gateways.replicas.requests[0]
    came_s, over_s = (requests[f"{name}_ns"] / 1e9 for name in ("arrival", "last_token"))
    sent = requests["status"] > 0
    recent = sent & (over_s > now_s - 60.0) & (over_s >= 0)
    state = source.states(problem.gateways)[0]
    assert state[:3].sum() == (sent & (over_s < 0)).sum()
    assert state[4] == pytest.approx((over_s - came_s)[recent].mean())
    assert state[5] == pytest.approx((sent & (came_s > now_s - 60.0)).sum() / 60.0)
    assert state[6] == 1.0


def test_a_decision_is_credited_at_once_with_about_what_becomes_of_its_request():
    problem, total, count = None, 0.0, 0
    for before, action in stepped():
        problem = before
        total += source.foreseen(problem.gateways, action).sum()
        count += 1
    requests = problem.gateways.replicas.requests[0]
    assert (requests["status"][requests["status"] > 0] == has.COMPLETED).all()
    assert problem.metrics()["mean_source_reward"][0] == pytest.approx(total / count, abs=0.1)


def test_the_mean_is_over_what_became_of_requests():
    """Two requests at one of two replicas, and one that failed at the other."""
    requests = np.zeros(4, has.REQUEST)  # the last never came
    requests["arrival_ns"][:3], requests["last_token_ns"][:3] = [0, 2e8, 3e8], [5e8, 4e8, 3e8]
    requests["status"][:3] = has.COMPLETED, has.COMPLETED, has.FAILED
    requests["replica"] = [0, 0, 1, 0]
    # As the second ends both are there, (2, 0); as the first ends it alone is, (1, 0).
    earned = [1 - 0.5 - 0.1 * 0.25, 1 - 0.2 - 0.1 * 1.0, -10.0]
    assert source.mean_reward(requests, 0, 2) == pytest.approx(np.mean(earned))
    assert source.mean_reward(requests, 100_000_000, 2) == pytest.approx(np.mean(earned[1:]))
