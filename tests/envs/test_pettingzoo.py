"""Every problem before PettingZoo's own tests, as what its module makes, and in pictures."""

import numpy as np
import pytest
from pettingzoo.test import (
    api_test,
    max_cycles_test,
    parallel_api_test,
    parallel_seed_test,
    render_test,
    seed_test,
)
from pettingzoo.utils.env import AECEnv
from pettingzoo.utils.wrappers import OrderEnforcingWrapper
from toy_problem import drift

from marlserve import envs
from marlserve.envs.parallel import RENDER_MODES, ParallelView

every_problem = pytest.mark.parametrize("name", envs.names())
ONE_STEP = ("contextual_bandit", "kv_compression")  # episodes that the problem ends after one step


# The tests of PettingZoo --------------------------------------------------------------------------


@every_problem
def test_parallel_api(name, capsys):
    parallel_api_test(envs.module(name).parallel_env(), num_cycles=100)
    assert "Passed" in capsys.readouterr().out


@every_problem
@pytest.mark.parametrize("form", ["env", "raw_env"])
def test_aec_api(name, form, capsys):
    api_test(getattr(envs.module(name), form)(), num_cycles=30)
    assert "Passed" in capsys.readouterr().out


@every_problem
def test_seeds(name):
    parallel_seed_test(envs.module(name).parallel_env, num_cycles=30)
    seed_test(envs.module(name).env, num_cycles=30)


@pytest.mark.slow
@every_problem
def test_render(name, capsys):
    render_test(envs.module(name).env, {"ansi": lambda text: len(text.splitlines()) >= 2})
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(set(envs.names()) - set(ONE_STEP)))
def test_max_cycles(name):
    max_cycles_test(envs.module(name))


@pytest.mark.parametrize("name", ONE_STEP)
def test_max_cycles_make_no_episode_longer(name):
    """Than the problem does; PettingZoo's test wants as many steps as it asks for."""
    env = envs.module(name).parallel_env(max_cycles=4)
    env.reset(seed=0)
    terminations = env.step({agent: env.action_space(agent).sample() for agent in env.agents})[2]
    assert all(terminations.values())
    assert not env.agents


# Ours ---------------------------------------------------------------------------------------------


@every_problem
def test_keywords_are_settings_and_what_pettingzoo_adds(name):
    module = envs.module(name)
    for make in (module.parallel_env, module.raw_env, module.env):
        env = make(render_mode="ansi", max_cycles=3, reward=list(module.REWARDS)[-1])
        assert env.render_mode == "ansi"
        assert env.possible_agents
        assert env.unwrapped.max_cycles == 3
        assert env.unwrapped.problem.config == module.Config(reward=list(module.REWARDS)[-1])
        with pytest.raises(TypeError, match="colour"):
            make(colour="red")
        with pytest.raises(ValueError, match="render_mode is 'svg'; allowed are None, "):
            make(render_mode="svg")
        for bad in (0, -3, 2.5):
            with pytest.raises(ValueError, match=f"max_cycles is {bad}; allowed is None, or at l"):
                make(max_cycles=bad)
    assert isinstance(module.parallel_env(), ParallelView)
    assert isinstance(module.raw_env(), AECEnv)
    assert isinstance(module.env(), OrderEnforcingWrapper)


def test_max_cycles_truncates_what_is_not_over():
    whole, short = drift(num_steps=7, limit=1e9), drift(num_steps=7, limit=1e9, max_cycles=3)
    for env in (whole, short):
        env.reset(seed=1)
    for step in range(1, 4):
        expected, shown = (env.step(dict.fromkeys(env.agents, 1)) for env in (whole, short))
        for agent in whole.possible_agents:
            np.testing.assert_array_equal(shown[0][agent], expected[0][agent])
            assert shown[1][agent] == expected[1][agent]
            assert (shown[2][agent], shown[3][agent]) == (False, step == 3)
    assert (whole.agents, short.agents) == (whole.possible_agents, [])
    assert shown[4][agent]["metrics"] == whole.metrics()
    short.reset()
    assert len(short.step(dict.fromkeys(short.agents, 1))[0]) == 2
    ended = drift(limit=0.0, max_cycles=1)
    ended.reset(seed=0)
    _, _, terminations, truncations, _ = ended.step(dict.fromkeys(ended.agents, 1))
    assert all(terminations.values()), "an end of the problem's own is no truncation"
    assert not any(truncations.values())
    with pytest.raises(ValueError, match="max_cycles is 3; a batch allows None alone"):
        short.make_batch(2)
    with pytest.raises(ValueError, match="the problem has 2 copies; a ParallelEnv is one"):
        ParallelView(whole.make_batch(2))


def test_masks_are_such_as_spaces_sample_them():
    env = drift()
    _, infos = env.reset(seed=3)
    masks = env.problem.action_masks()
    for i, agent in enumerate(env.agents):
        mask = infos[agent]["action_mask"]
        np.testing.assert_array_equal(mask, masks[0, i, 0])
        assert mask[env.action_space(agent).sample(mask)]


# Pictures -----------------------------------------------------------------------------------------


@pytest.mark.slow
@every_problem
def test_pictures(name):
    text, picture = envs.make(name, render_mode="ansi"), envs.make(name, render_mode="rgb_array")
    for env in (text, picture):
        env.reset(seed=0)
        env.step({agent: env.action_space(agent).sample() for agent in env.agents})
    assert isinstance(text.render(), str)
    pixels = picture.render()
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.std() > 0, "something is drawn"
    assert envs.make(name).render() is None


@every_problem
def test_people_are_shown_the_text_at_every_step(name, capsys):
    shown, text = envs.make(name, render_mode="human"), envs.make(name, render_mode="ansi")
    assert shown.metadata["render_modes"] == list(RENDER_MODES)
    for env in (shown, text):
        env.reset(seed=4)
    assert capsys.readouterr().out == text.render() + "\n"
    actions = {agent: shown.action_space(agent).sample() for agent in shown.agents}
    for env in (shown, text):
        env.step(actions)
    assert capsys.readouterr().out == text.render() + "\n"
    assert shown.render() is None
    assert capsys.readouterr().out == text.render() + "\n"
