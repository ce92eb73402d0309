"""Gymnasium environments by id, through the vectorised runner and on their own."""

import gymnasium
import numpy as np
import pytest
from toy_modules import config_of, sample

from marlserve.policies.sampling.gymnasium_env import AGENT, GymnasiumEnv
from marlserve.policies.sampling.runner import VectorEnvRunner
from marlserve.policies.sampling.sequences import LENGTH, OBS, REWARDS, TERMINATED


def rows_of(**env_config):
    config = config_of("Counting")
    config.env_config = {}  # or the toy's would be merged into it
    config.environment(GymnasiumEnv, env_config=env_config)
    runner = VectorEnvRunner(config=config, worker_index=0)
    return sample(runner, num_episodes=6, random_actions=True)


def test_a_fallen_pole_terminates_and_a_limit_truncates():
    fallen = rows_of(id="CartPole-v1")
    assert fallen[TERMINATED].sum() == 6
    assert fallen[OBS].shape[2:] == (1, 4)
    assert (fallen[REWARDS].sum(1) == fallen[LENGTH][:, None]).all()
    cut = rows_of(id="CartPole-v1", kwargs={"max_episode_steps": 3})
    assert cut[LENGTH].tolist() == [3] * 6
    assert not cut[TERMINATED].any()


def test_spaces_of_every_kind():
    assert rows_of(id="Pendulum-v1", kwargs={"max_episode_steps": 3})[OBS].shape[2:] == (1, 3)
    taxi = rows_of(id="Taxi-v3", kwargs={"max_episode_steps": 3})
    assert taxi[OBS].shape[2:] == (1, 500)  # one-hot
    assert not taxi["action_mask"].all()  # from the infos


def test_episodes_are_those_of_gymnasium():
    ours, theirs = GymnasiumEnv({"id": "CartPole-v1"}), gymnasium.make("CartPole-v1")
    seen, expected = ours.reset(seed=7), theirs.reset(seed=7)
    np.testing.assert_array_equal(seen[0][AGENT], expected[0])
    over = False
    while not over:
        seen, expected = ours.step({AGENT: 1}), theirs.step(1)
        np.testing.assert_array_equal(seen[0][AGENT], expected[0])
        assert seen[1][AGENT] == expected[1]
        over = expected[2]
        assert seen[2] == {AGENT: over, "__all__": over}
        assert seen[3] == {AGENT: False, "__all__": False}


def test_bad_configs_are_refused():
    with pytest.raises(ValueError, match="NoSuchEnv"):
        GymnasiumEnv({"id": "NoSuchEnv-v0"})
    with pytest.raises(ValueError, match="no_such_module"):
        GymnasiumEnv({"id": "no_such_module:NoSuchEnv-v0"})
    with pytest.raises(ValueError, match="'id'"):
        GymnasiumEnv({"name": "CartPole-v1"})
