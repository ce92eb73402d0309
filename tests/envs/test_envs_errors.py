"""What every problem says to bad actions, copies and seeds, and that these change nothing."""

import gymnasium
import numpy as np
import pytest
from playing import SEEDS, assert_same, play, sampled

from marlserve import envs

every_problem = pytest.mark.parametrize("name", envs.names())
# Types in which 0 is an action to numpy, and how it shows it.
NO_NUMBERS = {bool: "False", complex: "0", object: "0", str: "''", bytes: "b''"}


def bad_values(space: gymnasium.Space) -> list[tuple[object, str]]:
    """Actions that are not in the space, and how the error shows their first element."""
    values = [
        (np.full(space.shape, np.nan), "nan"),
        (np.full(space.shape, -1.0), "-1.0"),
        (np.full(space.shape, 1e6), "1000000.0"),
        (np.zeros((1, 1, 1)), "[[[0.]]]"),
    ]
    if not isinstance(space, gymnasium.spaces.Box):
        values.append((np.full(space.shape, 0.5), "0.5"))
    if space.shape:
        values += [("no action", "no action"), (None, "None")]
        values += [(np.full(space.shape, "a"), "a"), (np.full(space.shape, None), "None")]
    values += [(np.zeros(space.shape, dtype), shown) for dtype, shown in NO_NUMBERS.items()]
    return values


@every_problem
def test_bad_actions_name_the_agent_and_the_value_and_change_nothing(name):
    env, twin = envs.make(name), envs.make(name)
    for one in (env, twin):
        one.reset(seed=5)
    good = {agent: env.action_space(agent).sample() for agent in env.agents}
    last = env.agents[-1]
    for value, shown_as in bad_values(env.action_space(last)):
        with pytest.raises(ValueError, match=f"action of {last} is ") as error:
            env.step({**good, last: value})
        assert shown_as in str(error.value)
    with pytest.raises(ValueError, match="actions are given for .*'stranger'"):
        env.step({**good, "stranger": good[last]})
    with pytest.raises(ValueError, match=f"expected .*{last}"):
        env.step({agent: action for agent, action in good.items() if agent != last})
    shown, expected = env.step(good), twin.step(good)
    for agent in env.agents:
        np.testing.assert_array_equal(shown[0][agent], expected[0][agent])
        assert shown[1][agent] == expected[1][agent]


@every_problem
def test_arrays_of_what_is_no_number_are_errors(name):
    problem, twin = envs.make_batch(name, 2), envs.make_batch(name, 2)
    good = sampled(problem, np.random.default_rng(7))
    for one in (problem, twin):
        one.reset(SEEDS[:2])
    message = r"actions have dtype .*; allowed are integers and floats"
    for dtype in NO_NUMBERS:
        with pytest.raises(ValueError, match=message):
            problem.step(np.zeros(good.shape, dtype))
    assert_same(list(problem.step(good)), list(twin.step(good)))


@every_problem
def test_arrays_of_a_wrong_shape_and_copies_that_ended_are_errors(name):
    problem, rng = envs.make_batch(name, 2), np.random.default_rng(6)
    actions = sampled(problem, rng)
    with pytest.raises(RuntimeError, match=r"copies \[0, 1\] have no episode in progress"):
        problem.step(actions)
    problem.reset(SEEDS[:2])
    with pytest.raises(ValueError, match="actions have shape .*; expected"):
        problem.step(actions[:1])
    over = np.zeros(2, bool)
    while not over.any():
        over = np.logical_or(*problem.step(actions)[2:])
    metrics = problem.metrics()
    with pytest.raises(RuntimeError, match="have no episode in progress: reset them first"):
        problem.step(actions)
    for key, values in problem.metrics().items():
        np.testing.assert_array_equal(values, metrics[key])
    problem.reset()
    problem.step(actions)


# Copies and seeds ---------------------------------------------------------------------------------


NO_COPIES = (
    np.array([True, False, True]),
    [True, False],
    [0.0, 1.0],
    [-1],
    [3],
    [1, 1],
    [[0]],
    1,
    ["0"],
    [None],
)


@every_problem
def test_copies_to_reset_are_indices_each_once(name):
    problem, twin = envs.make_batch(name, 3), envs.make_batch(name, 3)
    for one in (problem, twin):
        one.reset(SEEDS)
    message = "copies is .*; allowed are indices 0 to 2, each once"
    for copies in NO_COPIES:
        with pytest.raises(ValueError, match=message):
            problem.reset(copies=copies)
    assert_same(play(problem, 3), play(twin, 3))  # nothing has changed


@every_problem
def test_copies_may_be_none_of_them_or_in_any_order(name):
    problem = envs.make_batch(name, 3)
    first = problem.reset(SEEDS)
    np.testing.assert_array_equal(problem.reset(copies=[]), first)
    again = problem.reset([SEEDS[2], SEEDS[0]], copies=np.array([2, 0], np.uint8))
    np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize("seed", [-1, 0.5, "one"])
def test_bad_seeds_change_nothing(seed):
    problem, twin = (envs.make_batch("contextual_bandit", 2) for _ in range(2))
    for one in (problem, twin):
        one.reset([1, 2])
    with pytest.raises(ValueError, match=f"seed is {seed!r}; allowed is None, or whole"):
        problem.reset([5, seed])
    assert_same(play(problem, 3), play(twin, 3))
