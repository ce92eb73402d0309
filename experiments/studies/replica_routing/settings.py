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
# At a load above 1 it shows in what the next hundreds cost, which larger samples are needed for.
OVERLOADED: dict[str, Any] = {"gamma": 0.99, "lr": Schedule(((0.0, 1.5e-3), (1.0, 1e-4)))}
OVERLOADED_FRAGMENT = 512
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
ENV_STEPS = {"ppo": 500_000, "dqn": 300_000}
SOURCE_RUNNERS = {"num_envs_per_env_runner": _COPIES, "rollout_fragment_length": _FRAGMENT}
SOURCE_STEPS = 40_000
EVALUATIONS, EVALUATION_EPISODES = 6, 16  # in the course of a training


def settings(preset: str, candidate: str, env_steps: int | None) -> Settings:
    """How a candidate is trained on a preset, with evaluations on the way."""
    own = (preset, candidate) == ("source", "dqn")
    usual_steps = SOURCE_STEPS if own else ENV_STEPS[candidate]
    steps = usual_steps if env_steps is None else env_steps
    training = SOURCE_DQN if own else TRAINING[candidate]
    runners = SOURCE_RUNNERS if own else ENV_RUNNERS[candidate]
    if (preset, candidate) == ("shifting", "ppo"):
        training = training | OVERLOADED
        runners = runners | {"rollout_fragment_length": OVERLOADED_FRAGMENT}
    return Settings(
        steps,
        training=in_steps(training, steps),
        env_runners=runners,
        evaluation={
            "evaluate_every": max(1, steps // EVALUATIONS),
            "evaluation_episodes": EVALUATION_EPISODES,
        },
    )
