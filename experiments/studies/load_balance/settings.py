"""How policies are trained on the load balancers.

All hyper-parameters are in TRAINING and ENV_RUNNERS, the budget of steps is the same for all. They
were chosen by hand, ten to twenty trainings for each of QMIX, SAC and PPO, with seeds 100 and 101
and greedy episodes of the split "train". VDN and independent learners have QMIX's.
"""

from typing import Any

from marlserve.experiments.studies.schedule import Schedule, falling, in_steps
from marlserve.experiments.studies.study import Settings

ENV_STEPS = 200_000
_FEW, _MANY = ("moderate", "degraded", "unknown"), ("large", "quad")  # servers


# The reward follows the action at once: a short horizon will do.
_ALL = {"standardize_rewards": True, "lr": falling(1e-3)}
# The observation holds statistics of the past, so that a network without memory will do, and costs
# less than a recurrent one.
_QMIX = {"use_gru": False, "updates_per_step": 8, "gamma": 0.2, "replay_capacity": 2_000}
# Small updates soon after each sample: with 8 of 32 rows every 6,400 steps, one training in three
# ends behind `sed`.
_FEW_QMIX = {
    "updates_per_step": 3,
    "train_batch_size_per_learner": 8,
    "lr": falling(3e-3),
    "td_lambda": 0.0,
    "embedding_size": 8,
    "epsilon": Schedule(((0.0, 1.0), (0.17, 0.1))),
}
# Each of many components alone changes little: explore with all of them.
_MANY_QMIX = {"hidden_size": 32, "coherence": 0.5, "epsilon": Schedule(((0.0, 1.0), (0.2, 0.2)))}
# Where values of weights are close, they want more samples.
_LARGE_QMIX = {
    "lr": falling(3e-3),
    "gamma": 0.0,
    "td_lambda": 0.0,
    "embedding_size": 16,
    "replay_capacity": 5_000,
}
_QMIX_BY_PRESET = {
    **dict.fromkeys(_FEW, _QMIX | _FEW_QMIX),
    "quad": _QMIX | _MANY_QMIX,
    "large": _QMIX | _MANY_QMIX | _LARGE_QMIX,
}
# The temperature comes to where it belongs within some hundred updates. If it starts too cold and
# is slow to rise, all servers soon have the same level, whose own changes are worth little.
_SAC = {
    "initial_alpha": 0.05,
    "alpha_lr": 0.01,
    "updates_per_step": 3,
    "replay_capacity": 2_000,
}
_FEW_SAC = {"gamma": 0.2, "hidden_size": 32, "embedding_size": 8, "lr": falling(2e-3)}
# With embeddings of 4 numbers, some of 24 servers are taken for others.
_MANY_SAC = {"gamma": 0.0, "hidden_size": 16, "embedding_size": 16, "lr": falling(3e-3)}


def _sac_by_preset(few_rows: int, many_rows: int) -> dict[str, dict[str, Any]]:
    """With so many rows in an update; a row has a sequence for every server of every agent."""
    few = _SAC | _FEW_SAC | {"train_batch_size_per_learner": few_rows}
    many = _SAC | _MANY_SAC | {"train_batch_size_per_learner": many_rows}
    return dict.fromkeys(_FEW, few) | dict.fromkeys(_MANY, many)


# An embedding says which servers are worth more. Without one, LARGE is not learned.
_PPO = {"hidden_size": 16, "embedding_size": 4, "lr": falling(3e-3)}
_FEW_PPO = {"gamma": 0.5, "num_epochs": 2, "minibatch_size": 1024}
_MANY_PPO = {"gamma": 0.0, "num_epochs": 1, "minibatch_size": 2048}
_PPO_BY_PRESET = {
    **dict.fromkeys(_FEW, _PPO | _FEW_PPO),
    **dict.fromkeys(_MANY, _PPO | _MANY_PPO),
}
TRAINING: dict[str, dict[str, dict[str, Any]]] = {  # {algorithm: {preset: settings}}
    "qmix": _QMIX_BY_PRESET,
    "vdn": _QMIX_BY_PRESET,
    "independent": _QMIX_BY_PRESET,
    "sac_gru": _sac_by_preset(32, 8),
    "s_sac": _sac_by_preset(64, 32),
    "ppo": _PPO_BY_PRESET,
}
ENV_RUNNERS: dict[str, dict[str, Any]] = {  # {algorithm: AlgorithmConfig.env_runners()}
    "sac_gru": {"num_envs_per_env_runner": 32},
    "s_sac": {"num_envs_per_env_runner": 32},
    "ppo": {},
}


# Many servers: the 8 updates follow upon samples that are longer than a row.
_LONG_SAMPLES = {preset: {"rollout_fragment_length": 200} for preset in _MANY}
_VALUE_LEARNERS = ("qmix", "vdn", "independent")


def settings(preset: str, candidate: str, env_steps: int | None) -> Settings:
    """How a candidate is trained on a preset."""
    steps = ENV_STEPS if env_steps is None else env_steps
    training = in_steps(_ALL | TRAINING[candidate][preset], steps)
    samples = _LONG_SAMPLES.get(preset, {}) if candidate in _VALUE_LEARNERS else {}
    return Settings(steps, training, samples | ENV_RUNNERS.get(candidate, {}))
