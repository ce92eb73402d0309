"""Problems with one agent as Gymnasium environments, and how Gymnasium finds them."""

import pickle
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from toy_problem import drift

from marlserve import envs
from marlserve.envs import single_agent
from marlserve.envs.single_agent import SingleAgentView, gymnasium_id

ALONE = {"load_balance": {"num_balancers": 1}}  # settings that leave one agent

MAKE = """
import sys, gymnasium
env = gymnasium.make("marlserve:marlserve/KvCache-v0")
env.reset(seed=3)
env.step(env.action_space.sample())
assert not {"ray", "torch", "matplotlib"} & set(sys.modules)
"""
IMPORT = """
import sys, gymnasium, marlserve
assert "marlserve/KvCache-v0" in gymnasium.registry
assert not {"ray", "torch", "matplotlib", "numba", "pandas"} & set(sys.modules)
"""


@pytest.fixture(params=envs.names())
def problem(request) -> tuple[str, dict]:
    """The id of every problem that can have one agent, and the settings for that."""
    settings = ALONE.get(request.param, {})
    agents = envs.make(request.param, **settings).possible_agents
    if len(agents) != 1:
        pytest.skip(f"{request.param} has {len(agents)} agents")
    return gymnasium_id(request.param), settings


# The view -----------------------------------------------------------------------------------------


def test_the_view_is_the_agent_of_the_parallel_view():
    view, parallel = SingleAgentView(drift(num_agents=1)), drift(num_agents=1)
    observation, info = view.reset(seed=5)
    expected, infos = parallel.reset(seed=5)
    (agent,) = parallel.possible_agents
    np.testing.assert_array_equal(observation, expected[agent])
    np.testing.assert_array_equal(info["action_mask"], infos[agent]["action_mask"])
    over = False
    while not over:
        observation, reward, terminated, truncated, info = view.step(1)
        results = [result[agent] for result in parallel.step({agent: 1})]
        np.testing.assert_array_equal(observation, results[0])
        assert [reward, terminated, truncated] == results[1:4]
        over = terminated or truncated
        assert ("metrics" in info) == over
    assert info["metrics"] == parallel.metrics()
    with pytest.raises(RuntimeError, match="no episode in progress"):
        view.step(1)
    first, _ = view.reset()
    assert first[0] != expected[agent][0], "an unseeded episode goes on with the generator"


def test_the_view_passes_the_check_with_an_end_of_both_kinds():
    with pytest.warns(UserWarning, match="A Box observation space m.* is -?infinity"):
        check_env(SingleAgentView(drift(num_agents=1)), skip_render_check=True)
    ends = set()
    for limit in (0.1, 1e9):
        env = SingleAgentView(drift(num_agents=1, limit=limit))
        env.reset(seed=0)
        step = (None, None, False, False)
        while not (step[2] or step[3]):
            step = env.step(2)
        ends.add((step[2], step[3]))
    assert ends == {(True, False), (False, True)}


def test_bad_actions_and_several_agents_are_errors():
    env = SingleAgentView(drift(num_agents=1))
    with pytest.raises(RuntimeError, match="reset first"):
        env.step(0)
    env.reset(seed=0)
    for bad, message in ((3, "action of pusher_0 is 3; allowed is Disc"), ([0], r"of shape \(\)")):
        with pytest.raises(ValueError, match=message):
            env.step(bad)
    with pytest.raises(ValueError, match=r"drift has 2 agents, \['pusher_0', 'pusher_1'\]; a Gym"):
        SingleAgentView(drift(num_agents=2))


# Every problem ------------------------------------------------------------------------------------


def test_the_checker_of_gymnasium_has_no_complaint(problem):
    name, settings = problem
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(name, **settings).unwrapped)


def test_an_episode_by_name_is_that_of_the_problem(problem):
    name, settings = problem
    env = gymnasium.make(name, **settings)
    parallel = envs.make(env.spec.kwargs["problem"], **settings)
    (agent,) = parallel.possible_agents
    shown, expected = env.reset(seed=11)[0], parallel.reset(seed=11)[0][agent]
    env.action_space.seed(0)
    for _ in range(5):
        np.testing.assert_array_equal(shown, expected)
        action = env.action_space.sample()
        shown, reward, terminated, truncated, _ = env.step(action)
        step = parallel.step({agent: action})
        expected = step[0][agent]
        assert reward == step[1][agent]
        if terminated or truncated:
            shown, expected = env.reset()[0], parallel.reset()[0][agent]
    copy = pickle.loads(pickle.dumps(env.unwrapped))
    np.testing.assert_array_equal(copy.step(action)[0], env.step(action)[0])


@pytest.mark.slow
def test_settings_and_pictures_are_passed_on(problem):
    name, settings = problem
    assert isinstance(_drawn(name, render_mode="ansi", **settings), str)
    assert _drawn(name, render_mode="rgb_array", **settings).ndim == 3
    pictures = _drawn(name, render_mode="rgb_array_list", **settings)
    assert len(pictures) == 2  # after reset and after the step
    with pytest.raises(TypeError, match="colour"):
        gymnasium.make(name, colour="red", **settings)
    with pytest.raises(ValueError, match="reward is 'none'; allowed is"):
        gymnasium.make(name, reward="none", **settings)


def test_several_make_a_vector(problem):
    name, settings = problem
    vector = gymnasium.make_vec(name, 2, vectorization_mode="sync", **settings)
    observations, _ = vector.reset(seed=[1, 2])
    single = gymnasium.make(name, **settings)
    np.testing.assert_array_equal(observations[1], single.reset(seed=2)[0])
    vector.close()


def _drawn(name: str, **settings):
    env = gymnasium.make(name, **settings)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    return env.render()


# Names --------------------------------------------------------------------------------------------


def test_ids_are_the_names_in_camel_case():
    assert gymnasium_id("kv_cache") == "marlserve/KvCache-v0"
    assert {gymnasium_id(name) for name in envs.names()} <= set(gymnasium.registry)
    assert "single_agent" not in envs.names()


def test_the_settings_decide_how_many_agents_there_are():
    with pytest.raises(ValueError, match="load_balance has 2 agents, .*; a Gymnasium environment"):
        gymnasium.make("marlserve/LoadBalance-v0")


def test_announcing_again_does_nothing():
    before = dict(gymnasium.registry)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in envs.names():
            single_agent.announce(name)
    assert dict(gymnasium.registry) == before


@pytest.mark.slow
@pytest.mark.parametrize("code", [MAKE, IMPORT])
def test_gymnasium_finds_a_problem_that_nobody_imported_and_announcing_is_light(code, tmp_path):
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
