"""Agents that share a policy may see which of them they are, in training and in a checkpoint."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from toy_unequal import OfDiscrete
from toys import Identity

from marlserve import policies
from marlserve.policies.checkpoint import CheckpointPolicy
from marlserve.policies.sampling.agent_index import IndexedBatch, indexed, with_index
from marlserve.policies.sampling.multi_agent_env import PettingZooEnv
from marlserve.policies.sampling.parallel_batch import ParallelBatch

pytestmark = pytest.mark.slow

FEW = {"learning_starts": 64, "replay_capacity": 1_000, "lr": 3e-3, "updates_per_step": 8}
SETTINGS = {
    "qmix": FEW | {"use_gru": False, "sequence_length": 1, "mixer": "vdn", "epsilon": 1.0},
    "dqn": FEW | {"sequence_length": 1, "epsilon": 1.0},
    "sac": FEW,
    "sac_gru": FEW | {"sequence_length": 1},
    "ppo": {"lr": 0.01},
    "a2c": {"lr": 0.01},
}


def config(algorithm, **training):
    return (
        policies.config(algorithm, **SETTINGS[algorithm], **training)
        .environment(PettingZooEnv, env_config={"maker": "toy_roles:Roles"})
        .env_runners(num_envs_per_env_runner=32, rollout_fragment_length=4)
        .evaluation(
            evaluation_interval=10**9,  # on demand only
            evaluation_duration=8,
            evaluation_num_env_runners=0,
            evaluation_config={"explore": False, "num_envs_per_env_runner": 8},
        )
        .debugging(seed=0)
    )


def trained(algorithm, **training):
    result = config(algorithm, **training).build_algo()
    for _ in range(20):
        result.training_step()
    return result


def greedy_return(algorithm):
    return algorithm.evaluate()["env_runners"]["episode_return_mean"]


@pytest.mark.parametrize("algorithm", SETTINGS)
def test_agents_of_one_policy_learn_roles(algorithm, ray_session, tmp_path):
    """In the environment and, in any order, from a checkpoint; 3 is the most that is earned."""
    learner = trained(algorithm, observe_agent_index=True)
    assert greedy_return(learner) == 3.0
    learner.save_to_path(tmp_path)
    learner.stop()
    seen = {agent: np.zeros((5, 2), np.float32) for agent in ("first", "second", "third")}
    actions = CheckpointPolicy(tmp_path)(seen)
    assert {agent: set(x.tolist()) for agent, x in actions.items()} == {
        "third": {0},
        "first": {1},
        "second": {2},
    }
    with pytest.raises(ValueError, match="there is no agent 'fourth'"):
        CheckpointPolicy(tmp_path)({"fourth": np.zeros((5, 2), np.float32)})


def test_without_an_index_they_act_alike(ray_session):
    learner = trained("dqn")
    assert greedy_return(learner) == 1.0
    learner.stop()


def test_a_batch_shows_the_index_after_what_was_seen():
    batch = IndexedBatch(ParallelBatch([Identity(num_agents=2) for _ in range(3)]))
    assert batch.num_envs == 3
    assert {space.shape for space in batch.observation_spaces.values()} == {(5,)}
    for observations in (batch.reset([1, 2, 3]), batch.step(np.zeros((3, 2), np.int64))[0]):
        assert observations.shape == (3, 2, 5)
        np.testing.assert_array_equal(observations[..., 3:], np.tile(np.eye(2), (3, 1, 1)))
        for copy in observations:
            for agent in copy:
                assert batch.observation_spaces["a0"].contains(agent)


def test_one_observation_with_its_index():
    seen = np.array([[0.5], [0.25]], np.float32)
    np.testing.assert_array_equal(indexed(seen, "b", ("a", "b")), [[0.5, 0, 1], [0.25, 0, 1]])


@pytest.mark.parametrize("space", [Box(0, 1, (2, 3)), Box(0, 1, ()), Discrete(3)])
def test_other_observations_are_refused(space):
    with pytest.raises(ValueError, match="observe_agent_index needs a Box of one axis"):
        with_index(space, 2)


def test_agents_that_observe_unlike_are_refused():
    with pytest.raises(ValueError, match="observe_agent_index needs agents that observe alike"):
        IndexedBatch(ParallelBatch([OfDiscrete()]))


def test_a_bad_setting_is_refused():
    with pytest.raises(ValueError, match="observe_agent_index is 1"):
        config("dqn", observe_agent_index=1).validate()
