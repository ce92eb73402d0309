"""Environments by name, and unknown names and fields, in `policies.config(...)`."""

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from ray.tune.registry import register_env
from toys import Counting

from marlserve import policies
from marlserve.envs import register
from marlserve.envs.contextual_bandit import Problem
from marlserve.policies.checkpoint import CheckpointPolicy
from marlserve.policies.sampling.gymnasium_env import GymnasiumEnv
from marlserve.policies.sampling.multi_agent_env import ProblemEnv
from marlserve.policies.sampling.runner import VectorEnvRunner


def runner_of(config):
    config.env_runners(num_envs_per_env_runner=2, rollout_fragment_length=4)
    return VectorEnvRunner(config=config, worker_index=0)


def test_our_problems_and_gymnasiums_ids():
    config = policies.config("ppo").environment("load_balance", env_config={"num_balancers": 3})
    config.environment(env_config={"step_s": 0.5})
    problem = runner_of(config).env.batch
    assert (problem.config.num_balancers, problem.config.step_s) == (3, 0.5)
    config.environment("CartPole-v1", env_config={"max_episode_steps": 7})
    assert config.env is GymnasiumEnv
    assert config.env_config == {"id": "CartPole-v1", "kwargs": {"max_episode_steps": 7}}
    (rows,) = runner_of(config).sample(num_episodes=4, random_actions=True)
    assert rows.env_steps() == 4 * 7


def test_what_is_registered_comes_first():
    register_env("CartPole-v0", lambda config: Counting(**config))
    config = policies.config("ppo").environment("CartPole-v0", env_config={"num_agents": 3})
    assert config.env == "CartPole-v0"
    assert runner_of(config).env.batch.agents == ("a0", "a1", "a2")


@pytest.mark.parametrize(
    "env", [lambda config: gymnasium.make("CartPole-v1"), lambda config: CartPoleEnv()]
)
def test_functions_that_give_a_gymnasium_environment(env):
    batch = runner_of(policies.config("ppo").environment(env)).env.batch
    assert batch.agents == ("agent",)
    assert batch.reset([1, 2]).shape == (2, 1, 4)


@pytest.mark.parametrize("name", ["CartPole-v1", "MountainCarContinuous-v0"])
def test_a_gymnasium_task_trains_and_plays(ray_session, name, tmp_path):
    config = policies.config("ppo", minibatch_size=16).environment(name)
    config.env_runners(num_envs_per_env_runner=4, rollout_fragment_length=8)
    algorithm = config.build_algo()
    assert algorithm.train()["env_runners"]["num_env_steps_sampled_lifetime"] == 32
    algorithm.save_to_path(tmp_path)
    algorithm.stop()
    env = gymnasium.make(name)
    seen, _ = env.reset(seed=1)
    action = CheckpointPolicy(tmp_path)({"agent": np.asarray(seen)[None]})["agent"][0]
    assert env.action_space.contains(action)


def test_unknown_environments_say_what_there_is():
    with pytest.raises(ValueError, match="no environment 'nowhere'.*load_balance.*PettingZooEnv"):
        policies.config("ppo").environment("nowhere")
    with pytest.raises(ValueError, match="no environment 'CartPole-v99'.*CartPole-v1"):
        policies.config("ppo").environment("CartPole-v99")


@pytest.mark.parametrize("registered", [False, True])
def test_unknown_fields_say_which_there_are(registered):
    if registered:
        register()
    for wrong in (
        lambda: policies.config("ppo", "load_balance", {"num_servers": 3}),
        lambda: policies.config("ppo").environment("load_balance", env_config={"num_servers": 3}),
        lambda: ProblemEnv({"problem": "load_balance", "num_servers": 3}),
    ):
        with pytest.raises(ValueError, match=r"no field \['num_servers'\]; it has .*num_balanc"):
            wrong()


@pytest.mark.parametrize("name", policies.names())
def test_unknown_settings_say_which_there_are(name):
    with pytest.raises(ValueError, match=r"no setting \['learning_rate'\]; it has .*'lr'"):
        policies.config(name, learning_rate=0.1)


def test_arrays_are_made_without_a_single_copy_first(monkeypatch):
    made = []
    init = Problem.__init__
    monkeypatch.setattr(
        Problem, "__init__", lambda self, *args: made.append(args[1:]) or init(self, *args)
    )
    runner_of(policies.config("ppo").environment("contextual_bandit"))
    register()
    runner_of(policies.config("ppo").environment("contextual_bandit"))
    assert made == [(2,), (2,)]
