"""How policies are trained to route; on the preset "source", DQN as the agent service has it."""

import math
from typing import Any

from marlserve.experiments.studies.schedule import Schedule, in_steps
from marlserve.experiments.studies.study import Settings

TRAINING: dict[str, dict[str, Any]] = {
    "ppo": {
        "gamma": 0.95,  # a decision shows in what the next dozens cost
        "lr": Schedule(((0.0, 3e-3), (1.0, 1e-4))),
        "entropy_coeff": 0.001,
        "hidden_size": 64,
    },
    "dqn": {
        "gamma": 0.95,
        "lr": Schedule(((0.0, 1e-3), (1.0, 1e-4))),
        "epsilon": Schedule(((0.0, 1.0), (0.05, 0.1), (0.5, 0.02))),
    },
}
# Three layers, one-step targets of a network that is copied every 100 updates, and as many random
# choices as .995 to the number of updates. Ours is dueling, and has Huber's loss.
_DECISIONS_PER_UPDATE, _LEARNING_STARTS, _DECAY, _LEAST_EPSILON = 4, 64, 0.995, 0.01
_COPIES, _FRAGMENT = 16, 4  # so many copies play so many steps between rounds of updates


def _epsilon() -> list[list[float]]:
    """[[env_steps, value], ...], straight between every 40th update."""
    last = math.ceil(math.log(_LEAST_EPSILON) / math.log(_DECAY))
    points = [*range(0, last, 40), last]
    return [
        [_LEARNING_STARTS + _DECISIONS_PER_UPDATE * n, max(_DECAY**n, _LEAST_EPSILON)]
        for n in points
    ]


SOURCE_DQN: dict[str, Any] = {
    "hidden_sizes": [128, 128, 128],
    "double_q": False,
    "gamma": 0.99,
    "lr": 1e-3,
    "grad_clip": 1.0,
    "sequence_length": 1,
    "td_lambda": 0.0,
    "replay_capacity": 10_000,
    "train_batch_size_per_learner": 64,
    "learning_starts": _LEARNING_STARTS,
    "updates_per_step": _COPIES * _FRAGMENT // _DECISIONS_PER_UPDATE,
    "target_network_update_freq": 100,
    "tau": 1.0,
    "epsilon": [[0, 1.0], *_epsilon()],
}
ENV_RUNNERS: dict[str, dict[str, Any]] = {  # of AlgorithmConfig.env_runners()
    "ppo": {"num_envs_per_env_runner": 32, "rollout_fragment_length": 128},
    "dqn": {"num_envs_per_env_runner": 32},
}
ENV_STEPS = {"ppo": 600_000, "dqn": 300_000}
SOURCE_RUNNERS = {"num_envs_per_env_runner": _COPIES, "rollout_fragment_length": _FRAGMENT}
SOURCE_STEPS = 40_000
# At a load above 1, what a decision costs shows in hundreds of later ones, under more noise.
SHIFTING_PPO = TRAINING["ppo"] | {"gamma": 0.99, "lr": Schedule(((0.0, 1.5e-3), (1.0, 1e-4)))}
SHIFTING_RUNNERS = ENV_RUNNERS["ppo"] | {"rollout_fragment_length": 512}
SHIFTING_STEPS = 500_000
_OWN = {  # of these presets: training, env runners, env-steps
    ("source", "dqn"): (SOURCE_DQN, SOURCE_RUNNERS, SOURCE_STEPS),
    ("shifting", "ppo"): (SHIFTING_PPO, SHIFTING_RUNNERS, SHIFTING_STEPS),
}
EVALUATIONS, EVALUATION_EPISODES = 6, 16  # in the course of a training


def settings(preset: str, candidate: str, env_steps: int | None) -> Settings:
    """How a candidate is trained on a preset, with evaluations on the way."""
    usual = TRAINING[candidate], ENV_RUNNERS[candidate], ENV_STEPS[candidate]
    training, env_runners, usual_steps = _OWN.get((preset, candidate), usual)
    steps = usual_steps if env_steps is None else env_steps
    return Settings(
        steps,
        training=in_steps(training, steps),
        env_runners=env_runners,
        evaluation={
            "evaluate_every": max(1, steps // EVALUATIONS),
            "evaluation_episodes": EVALUATION_EPISODES,
        },
    )
