"""How policies are trained to route."""

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
ENV_RUNNERS: dict[str, dict[str, Any]] = {  # of AlgorithmConfig.env_runners()
    "ppo": {"num_envs_per_env_runner": 32, "rollout_fragment_length": 128},
    "dqn": {"num_envs_per_env_runner": 32},
}
ENV_STEPS = {"ppo": 600_000, "dqn": 300_000}
EVALUATIONS, EVALUATION_EPISODES = 6, 16  # in the course of a training


def settings(candidate: str, env_steps: int | None) -> Settings:
    """How a candidate is trained, with evaluations on the way."""
    steps = ENV_STEPS[candidate] if env_steps is None else env_steps
    return Settings(
        steps,
        training=in_steps(TRAINING[candidate], steps),
        env_runners=ENV_RUNNERS[candidate],
        evaluation={
            "evaluate_every": max(1, steps // EVALUATIONS),
            "evaluation_episodes": EVALUATION_EPISODES,
        },
    )
