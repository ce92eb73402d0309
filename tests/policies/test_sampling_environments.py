"""Environments of others as batches, and ours as RLlib's."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from ray.tune.registry import register_env
from toy_modules import config_of, runner_of, sample
from toy_problem import Drift, drift
from toys import Counting, Departures, Recall

from marlserve import envs
from marlserve.policies.sampling.actions import ActionArrays
from marlserve.policies.sampling.multi_agent_env import (
    ParallelMultiAgentEnv,
    PettingZooEnv,
    ProblemEnv,
)
from marlserve.policies.sampling.parallel_batch import ParallelBatch
from marlserve.policies.sampling.runner import MIXER, VectorEnvRunner
from marlserve.policies.sampling.sequences import OBS, STATE, TERMINATED


@pytest.mark.parametrize("wrapper", [ParallelPettingZooEnv, ParallelMultiAgentEnv, lambda env: env])
@pytest.mark.parametrize("make", [Counting, drift])
def test_environments_registered_by_name(wrapper, make):
    register_env("toy", lambda config: wrapper(make()))
    config = config_of("Counting").environment("toy", env_config={})
    runner = VectorEnvRunner(config=config, worker_index=0)
    assert isinstance(runner.env.batch, Drift if make is drift else ParallelBatch)
    assert len(sample(runner, num_episodes=3))


class Odd(ParallelEnv):
    """Agents whose ids or spaces no batch can hold."""

    def __init__(self, agents, sizes):
        self.metadata = {"name": "odd"}
        self.possible_agents = self.agents = agents
        self.sizes = dict(zip(agents, sizes, strict=True))

    def observation_space(self, agent):
        return Box(0, 1, (self.sizes[agent],), np.float32)

    def action_space(self, agent):
        return Discrete(2)


def test_environments_that_no_batch_can_hold():
    with pytest.raises(ValueError, match="must be strings"):
        ParallelBatch([Odd([0, 1], [2, 2])])
    with pytest.raises(ValueError, match="must be strings"):
        ParallelMultiAgentEnv(Odd([0, 1], [2, 2]))
    with pytest.raises(ValueError, match="at least 1"):
        ParallelBatch([])


def test_parallel_batch_reads_masks_in_every_form():
    batch = ParallelBatch([Departures()])
    batch.reset([1])
    np.testing.assert_array_equal(batch.action_masks()[0, 0], [[True, False, False]])
    batch = ParallelBatch([Recall(), Recall()])
    assert batch.observation_spaces["a0"].shape == (6,)
    batch.reset([1, 2])
    assert batch.action_masks().shape == (2, 2, 1, 4)
    assert batch.state().shape == (2, 7)


def test_a_batch_wants_to_be_reset():
    batch = ParallelBatch([Counting(length=1), Counting(length=2)])
    with pytest.raises(RuntimeError, match=r"copies \[0, 1\] have no episode"):
        batch.step(np.zeros((2, 2), int))
    batch.reset([1, 2])
    batch.step(np.zeros((2, 2), int))
    with pytest.raises(RuntimeError, match=r"copies \[0\] have no episode"):
        batch.step(np.zeros((2, 2), int))


@pytest.mark.parametrize("problem", envs.names())
def test_every_problem_is_sampled(problem):
    config = config_of("Counting").environment(ProblemEnv)
    config.env_config = {"problem": problem}
    runner = VectorEnvRunner(config=config, worker_index=0)
    assert isinstance(runner.env.batch, envs.Problem)
    rows = sample(runner, num_timesteps=3 * 4, random_actions=True)  # rows have 4 steps at most
    assert rows.env_steps() <= 12
    assert runner.get_spaces()[MIXER][0].contains(rows[STATE][0, 0])
    assert runner.get_spaces()["shared"][0].contains(rows[OBS][0, 0, 0])


def test_third_party_environment():
    simple_spread = pytest.importorskip("mpe2.simple_spread_v3")
    config = config_of("Counting")
    config.environment(
        PettingZooEnv,
        env_config={
            "maker": "mpe2.simple_spread_v3:parallel_env",
            "kwargs": {"N": 2, "max_cycles": 5},
        },
    )
    rows = sample(
        VectorEnvRunner(config=config, worker_index=0), num_episodes=3, random_actions=True
    )
    assert rows.env_steps() == 15
    assert not rows[TERMINATED].any()
    assert rows[STATE].shape[2:] == simple_spread.parallel_env(N=2).state_space.shape


class TestMultiAgentEnv:
    """Our wrappers under RLlib's own runner and on their own."""

    def test_stock_runner(self):
        config = config_of("Departures")
        config.env_runners(num_envs_per_env_runner=1, env_runner_cls=MultiAgentEnvRunner)
        runner = MultiAgentEnvRunner(config=config, worker_index=0)
        episodes = runner.sample(num_episodes=4, random_actions=True)
        assert [len(episode) for episode in episodes] == [3] * 4
        assert all(episode.get_return() == 6 for episode in episodes)

    def test_an_episode_ends_when_agents_end_differently(self):
        env = ParallelMultiAgentEnv(Departures(2))
        env.reset(seed=0)
        *_, terminateds, truncateds, _ = env.step({"a0": 0, "a1": 0})
        assert terminateds == {"a0": True, "a1": False, "__all__": False}
        *_, terminateds, truncateds, _ = env.step({"a1": 0})
        assert truncateds == {"a1": True, "__all__": True}

    def test_state_and_spaces(self):
        env = PettingZooEnv({"maker": "toys:TwoStep"})
        _, infos = env.reset(seed=0)
        np.testing.assert_array_equal(infos["a0"]["state"], [1, 0, 0])
        _, _, _, _, infos = env.step({"a0": 1, "a1": 0})
        np.testing.assert_array_equal(infos["a0"]["state"], [0, 0, 1])
        assert env.get_observation_space("a1").shape == (5,)

    def test_bad_configs(self):
        with pytest.raises(ValueError, match="no 'problem'"):
            ProblemEnv({"num_servers": 3})
        with pytest.raises(ValueError, match="no_such_problem"):
            ProblemEnv({"problem": "no_such_problem"})
        with pytest.raises(ValueError, match="module:function"):
            PettingZooEnv({"maker": "toys:NoSuchToy"})
        with pytest.raises(ValueError, match="'maker'"):
            PettingZooEnv({"make": "toys:TwoStep"})


def test_boxes_are_stretched_and_indices_shifted():
    box = Box(np.array([2.0, -1.0], np.float32), np.array([6.0, 1.0], np.float32))
    actions = np.array([[-1.0, 0.5], [1.0, 7.0]], np.float32)
    np.testing.assert_array_equal(
        ActionArrays(box, normalize=True).to_env(actions), [[2.0, 0.5], [6.0, 1.0]]
    )
    np.testing.assert_array_equal(
        ActionArrays(box, clip=True).to_env(actions), [[2.0, 0.5], [2.0, 1.0]]
    )
    np.testing.assert_array_equal(
        ActionArrays(Discrete(3, start=-1)).to_env(np.arange(3)), [-1, 0, 1]
    )
    with pytest.raises(ValueError, match="MultiBinary"):
        ActionArrays(gymnasium.spaces.MultiBinary(3))


def test_spaces_of_modules_and_of_the_state():
    runner = runner_of("Recall", policies=("p", "q"), num_agents=3)
    spaces = runner.get_spaces()
    assert spaces[MIXER] == (Box(-np.inf, np.inf, (3 * 3 + 1,), np.float32), None)
    assert spaces["p"] == spaces["q"]
    assert spaces["p"][0].shape == (3 + 1 + 3,)
    assert list(spaces[INPUT_ENV_SINGLE_SPACES][0].spaces) == ["a0", "a1", "a2"]
    many = runner_of("Counting", num_agents=12).get_spaces()
    assert list(many[INPUT_ENV_SINGLE_SPACES][0].spaces) == [f"a{i}" for i in range(12)]
    assert many[MIXER][0].shape == (12 * 4,)  # no state of its own: all observations


def test_mappings_and_environments_that_do_not_exist():
    with pytest.raises(ValueError, match="'nowhere' is not registered"):
        VectorEnvRunner(config=config_of("Counting").environment("nowhere"), worker_index=0)
    config = config_of("Counting").multi_agent(policy_mapping_fn=lambda agent, episode, **kw: "x")
    with pytest.raises(ValueError, match=r"gives \['x'\]"):
        VectorEnvRunner(config=config, worker_index=0)
    with pytest.raises(ValueError, match="expected a PettingZoo ParallelEnv"):
        VectorEnvRunner(config=config_of("Counting").environment(lambda c: 3), worker_index=0)
