"""DQN, SAC and TD3 learn: the identity in every space they play, a pole, and a pendulum."""

import pytest
from learners import check_two_stay_alike

from marlserve import policies
from marlserve.policies.sampling.gymnasium_env import GymnasiumEnv
from marlserve.policies.sampling.multi_agent_env import PettingZooEnv

pytestmark = pytest.mark.usefixtures("ray_session")


def identity(algorithm, space):
    return (
        policies.config(algorithm, hidden_sizes=[64], learning_starts=500, lr=3e-3)
        .environment(
            PettingZooEnv, env_config={"maker": "toys:Identity", "kwargs": {"space": space}}
        )
        .debugging(seed=0)
    )


def gymnasium(algorithm, name, **training):
    return (
        policies.config(algorithm, **training)
        .environment(GymnasiumEnv, env_config={"id": name})
        .debugging(seed=0)
    )


def learned(config, env_steps, num_episodes=30):
    """The mean return of greedy play after so many steps."""
    config.evaluation(
        evaluation_interval=10**9,  # on demand only
        evaluation_duration=num_episodes,
        evaluation_num_env_runners=0,
        evaluation_config={"explore": False, "num_envs_per_env_runner": 30},
    )
    algorithm = config.build_algo()
    per_iteration = config.num_envs_per_env_runner * config.get_rollout_fragment_length()
    for _ in range(env_steps // per_iteration):
        algorithm.training_step()
    result = algorithm.evaluate()["env_runners"]["episode_return_mean"]
    algorithm.stop()
    return result


@pytest.mark.parametrize(
    ("algorithm", "space", "least"),
    [
        ("dqn", "discrete", 0.99),
        ("sac", "discrete", 0.99),
        ("sac", "box", 0.9),
        ("td3", "box", 0.9),
    ],
)
def test_identity(algorithm, space, least):
    """One step; 1 for the action that is seen. By chance 1/3, and about -1 in the box."""
    assert learned(identity(algorithm, space), 2_500, 300) > least


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "least", "training"),
    [
        ("dqn", 450, {"lr": 2e-3}),
        ("sac", 300, {"sequence_length": 8, "td_lambda": 0.9, "train_batch_size_per_learner": 16}),
    ],
)
def test_cartpole(algorithm, least, training):
    """An upright second is worth 50, 500 at most; random actions last for 22."""
    assert learned(gymnasium(algorithm, "CartPole-v1", **training), 40_000) > least


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["sac", "td3"])
def test_pendulum(algorithm):
    """Rewards of -16 to 0 per step; random actions earn about -1200, the best some -150."""
    assert learned(gymnasium(algorithm, "Pendulum-v1"), 14_000) > -250


@pytest.mark.slow
def test_learners_that_work_together_stay_alike():
    check_two_stay_alike(identity("td3", "box"), iterations=24)
