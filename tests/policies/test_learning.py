"""QMIX learns: known optima of toy games, and memory."""

import pytest

from marlserve.policies import qmix
from marlserve.policies.sampling.multi_agent_env import PettingZooEnv

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


def built(maker, seed, num_envs, kwargs=None, **training):
    """An algorithm whose `evaluate()` plays greedily."""
    return (
        qmix.config(**training)
        .environment(PettingZooEnv, env_config={"maker": maker, "kwargs": kwargs or {}})
        .env_runners(num_envs_per_env_runner=num_envs)
        .evaluation(
            evaluation_interval=10**9,  # on demand only
            evaluation_duration=120,
            evaluation_num_env_runners=0,
            evaluation_config={"explore": False, "num_envs_per_env_runner": 30},
        )
        .debugging(seed=seed)
        .build_algo()
    )


def greedy_return(algorithm):
    return algorithm.evaluate()["env_runners"]["episode_return_mean"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("mixer", "expected"), [("qmix", 8.0), ("vdn", 7.0), ("none", 7.0)])
def test_two_step_game(mixer, expected, seed):
    """Rashid et al. 2018, section 5.1: only QMIX represents the values that lead to 8."""
    algorithm = built(
        "toys:TwoStep",
        seed,
        num_envs=8,
        mixer=mixer,
        use_gru=False,
        sequence_length=2,
        td_lambda=0.0,
        epsilon=1.0,
        lr=1e-3,
        learning_starts=100,
        updates_per_step=10,
        target_network_update_freq=50,
        replay_capacity=500,
    )
    for _ in range(50):
        algorithm.training_step()
    assert greedy_return(algorithm) == expected
    algorithm.stop()


def recall_return(use_gru):
    algorithm = built(
        "toys:Recall",
        seed=0,
        num_envs=16,
        mixer="vdn",
        use_gru=use_gru,
        hidden_size=32,
        sequence_length=4,  # an episode
        td_lambda=1.0,
        lr=3e-3,
        epsilon=1.0,
        learning_starts=200,
        updates_per_step=8,
        target_network_update_freq=80,
        replay_capacity=2_000,
    )
    for _ in range(50):
        algorithm.training_step()
    result = greedy_return(algorithm)
    algorithm.stop()
    return result


def test_a_gru_remembers():
    """Both agents name one of three cues seen three steps ago: 2 at best, 2/3 by chance."""
    assert recall_return(use_gru=True) > 1.9


def test_a_feed_forward_network_does_not():
    assert recall_return(use_gru=False) < 1.1
