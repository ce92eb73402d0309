"""What is trained and compared on the load balancers: algorithms, their settings, what counts.

All hyper-parameters are in TRAINING and ENV_RUNNERS, the budget of steps is the same for all. They
were chosen by hand, ten to twenty trainings for each of QMIX, SAC and PPO, with seeds 100 and 101
and greedy episodes of the split "train". VDN and independent learners have QMIX's.
"""

from functools import partial
from typing import Any

from marlserve.envs.load_balance import PRESETS
from marlserve.experiments.studies.study import Settings, Study

PROBLEM = "load_balance"
# A policy's own part of the Config: how it acts, not what it meets.
INTERFACE = ("action", "weight_levels", "dispatch", "step_s", "reservoir_rule")
METRICS = ("mean_latency_s", "p99_latency_s", "jain_index", "rejected")
PERCENTILES = ("p50_latency_s", "p90_latency_s", "p95_latency_s", "p99_latency_s")

# What is learned: (algorithm, its settings, fields of the problem).
_OWN_REWARD = {"reward_scope": "agent"}
ALGORITHMS: dict[str, tuple[str, dict, dict]] = {
    "qmix": ("qmix", {"mixer": "qmix"}, {}),
    "vdn": ("qmix", {"mixer": "vdn"}, {}),
    "independent": ("qmix", {"mixer": "none"}, _OWN_REWARD),
    "sac_gru": ("sac_gru", {}, _OWN_REWARD),  # I-SAC
    "s_sac": ("sac_gru", {}, {"num_balancers": 1}),  # one balancer has all the traffic
    "ppo": ("ppo", {}, {}),
}

ENV_STEPS = 200_000
_FEW, _MANY = ("moderate", "degraded"), ("large", "quad")  # servers


def _falling(lr: float) -> tuple[tuple[float, float], ...]:
    """By share of the training: constant in its first half, falling to a tenth in the second."""
    return (0.0, lr), (0.5, lr), (1.0, lr / 10)


# The reward follows the action at once: a short horizon will do.
_ALL = {"standardize_rewards": True, "lr": _falling(1e-3)}
# The observation holds statistics of the past, so that a network without memory will do, and costs
# less than a recurrent one.
_QMIX = {"use_gru": False, "updates_per_step": 8, "gamma": 0.2, "replay_capacity": 2_000}
_FEW_QMIX = {
    "lr": _falling(3e-3),
    "td_lambda": 0.0,
    "embedding_size": 8,
    "epsilon": ((0.0, 1.0), (0.17, 0.1)),
}
# Each of many components alone changes little: explore with all of them.
_MANY_QMIX = {"hidden_size": 32, "coherence": 0.5, "epsilon": ((0.0, 1.0), (0.2, 0.2))}
# Where values of weights are close, they want more samples.
_LARGE_QMIX = {
    "lr": _falling(3e-3),
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
_FEW_SAC = {"gamma": 0.2, "hidden_size": 32, "embedding_size": 8, "lr": _falling(2e-3)}
# With embeddings of 4 numbers, some of 24 servers are taken for others.
_MANY_SAC = {"gamma": 0.0, "hidden_size": 16, "embedding_size": 16, "lr": _falling(3e-3)}


def _sac_by_preset(few_rows: int, many_rows: int) -> dict[str, dict[str, Any]]:
    """With so many rows in an update; a row has a sequence for every server of every agent."""
    few = _SAC | _FEW_SAC | {"train_batch_size_per_learner": few_rows}
    many = _SAC | _MANY_SAC | {"train_batch_size_per_learner": many_rows}
    return dict.fromkeys(_FEW, few) | dict.fromkeys(_MANY, many)


# An embedding says which servers are worth more. Without one, LARGE is not learned.
_PPO = {"hidden_size": 16, "embedding_size": 4, "lr": _falling(3e-3)}
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


def study(env_steps: int | None = None) -> Study:
    """What is compared, after trainings of so many steps; None: ENV_STEPS."""
    return Study(
        problem=PROBLEM,
        presets=PRESETS,
        algorithms=ALGORITHMS,
        settings=partial(_settings, env_steps=ENV_STEPS if env_steps is None else env_steps),
        interface=INTERFACE,
        own_fields={"s_sac": ("num_balancers",)},
        metrics=METRICS,
        references=("sed",),
    )


def _settings(preset: str, algorithm: str, env_steps: int) -> Settings:
    """Schedules are by the length of the training, so a shorter one has all of them too."""
    training = {}
    for name, value in (_ALL | TRAINING[algorithm][preset]).items():
        schedule = isinstance(value, tuple)
        training[name] = [[round(at * env_steps), x] for at, x in value] if schedule else value
    return Settings(env_steps, training, ENV_RUNNERS.get(algorithm, {}))
