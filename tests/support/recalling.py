"""QMIX on a task of memory, with settings that take seconds."""

from marlserve.policies import qmix
from marlserve.policies.sampling.multi_agent_env import PettingZooEnv


def own_policy(agent_id, episode=None, **kwargs):
    return f"of_{agent_id}"


def recall(num_env_runners=0, num_learners=0, **training):
    settings = {
        "hidden_size": 16,
        "sequence_length": 3,  # an episode has 4 steps: hidden states are stored and restored
        "learning_starts": 50,
        "train_batch_size_per_learner": 8,
        "updates_per_step": 3,
        "target_network_update_freq": 4,
        "replay_capacity": 100,
        "epsilon": [[0, 1.0], [1_000, 0.0]],
        "standardize_rewards": True,
    }
    return (
        qmix.config(**settings | training)
        .environment(PettingZooEnv, env_config={"maker": "toys:Recall"})
        .env_runners(num_env_runners=num_env_runners, num_envs_per_env_runner=4)
        .learners(num_learners=num_learners)
        .evaluation(evaluation_interval=100, evaluation_duration=4, evaluation_num_env_runners=0)
        .debugging(seed=3)
    )
