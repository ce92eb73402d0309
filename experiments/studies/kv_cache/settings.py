"""What is trained and compared on the KV cache: configs, algorithms, their settings, what counts.

All hyper-parameters are in TRAINING and ENV_RUNNERS, all budgets in ENV_STEPS.
"""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from marlserve.envs.kv_cache import (
    BASELINES,
    REALISTIC,
    SOURCE_COMPATIBLE,
    SYNTHETIC,
    Config,
)
from marlserve.envs.kv_cache.baselines import CONSTANTS
from marlserve.experiments.harness.experiment import Experiment
from marlserve.experiments.studies.study import Settings, Study

PROBLEM = "kv_cache"
DATA = "MARLSERVE_DATA"  # the environment variable that names the folder of the recorded files

# A quarter of the hour lasts long enough to fill and empty the servers some twenty times.
CODE_2023 = Config(split_hours=0.25, episode_hours=0.2)
CONFIGS = {
    "synthetic": SYNTHETIC,
    "realistic": REALISTIC,
    "code_2023": CODE_2023,
    "source_compatible": replace(SOURCE_COMPATIBLE, split="train"),
}
# Where the files of a config are, below DATA.
_PROFILE = "kv_profiles/gov_report"
FILES = {
    "realistic": {
        "invocations_path": "azure_llm_2024/invocations_ten_second_Coding.csv",
        "price_path": "caiso/CAISO_20240509_20240521.csv",
        "profile_path": _PROFILE,
    },
    "code_2023": {
        "invocations_path": "azure_llm_2023/code.csv",
        "price_path": "caiso/CAISO_20231115_20231117.csv",
        "profile_path": _PROFILE,
    },
}

# What is learned: (algorithm, its settings, fields of the problem).
ALGORITHMS: dict[str, tuple[str, dict, dict]] = {
    "ppo": ("ppo", {}, {}),
    "a2c": ("a2c", {}, {}),
    "dqn": ("dqn", {}, {}),
    "sac": ("sac", {}, {}),
    "td3": ("td3", {}, {"action": "continuous"}),
}
# A decision shows in what completes until a minute later, and in the queue until that is empty.
_ALL = {"gamma": 0.95, "standardize_rewards": True}
_LR = 1e-3  # in the first half of a training; it falls to a tenth in the second
# Entropy keeps PPO and A2C from a constant before they have met the busy hours.
_ON_POLICY = {"entropy_coeff": ((0.0, 0.05), (0.6, 0.001))}  # by share of the training
TRAINING: dict[str, dict[str, Any]] = {
    "ppo": _ON_POLICY,
    "a2c": _ON_POLICY,
    "dqn": {"epsilon": ((0.0, 1.0), (0.1, 0.05)), "updates_per_step": 8},
    "sac": {"updates_per_step": 8},
    "td3": {"updates_per_step": 8},
}
_MANY = {"num_envs_per_env_runner": 64}
_FEW = {"num_envs_per_env_runner": 32, "rollout_fragment_length": 8}
ENV_RUNNERS: dict[str, dict[str, Any]] = {  # of AlgorithmConfig.env_runners()
    "ppo": _MANY | {"rollout_fragment_length": 64},
    "a2c": _MANY | {"rollout_fragment_length": 32},
    "dqn": _FEW,
    "sac": _FEW,
    "td3": _FEW,
}
# Short episodes begin at any hour, so that every sample has quiet hours and busy ones.
TRAINING_HOURS = 2.0
ENV_STEPS = {
    "synthetic": 400_000,
    "realistic": 400_000,
    "code_2023": 100_000,
    "source_compatible": 400_000,
}
EVALUATIONS, EVALUATION_EPISODES, EVALUATION_HOURS = 10, 16, 6.0  # in the course of a training

INTERFACE = ("action", "enable_deny", "step_s")  # how a policy acts, not what it meets
METRICS = (
    "profit_usd",
    "mean_source_reward",
    "success_rate",
    "timeout_rate",
    "p95_latency_s",
    "mean_score",
    "energy_mwh",
    "energy_cost_usd",
)


def configs() -> dict[str, Config]:
    """The configs by name, with the recorded files where DATA is set."""
    if not (folder := os.environ.get(DATA)):
        return CONFIGS
    found = {
        name: replace(CONFIGS[name], **{field: str(Path(folder, x)) for field, x in files.items()})
        for name, files in FILES.items()
    }
    return CONFIGS | found


def study(env_steps: int | None = None) -> Study:
    """What is compared, after trainings of so many steps; None: the config's own number."""
    return Study(
        problem=PROBLEM,
        presets=configs(),
        algorithms=ALGORITHMS,
        settings=partial(_settings, env_steps=env_steps),
        interface=INTERFACE,
        metrics=METRICS,
        references=tuple(name for name, x in BASELINES.items() if not x.oracle),
        gap=(CONSTANTS, "oracle"),
        larger_is_better=True,
        rank_by={"source": "mean_source_reward"},
    )


def experiment(
    config: str,
    algorithm: str,
    seed: int,
    problem: Config,
    evaluate_every: int | None,
    *,
    env_steps: int | None = None,
    **given,
) -> Experiment:
    """As `Study.experiment`, but training and evaluations are in shorter episodes.

    Raises:
        ValueError: if the config is one of recorded files, and these are not given.
    """
    check_files(config, problem)
    hours = min(EVALUATION_HOURS, problem.episode_hours)
    evaluation: dict[str, Any] = {"evaluation_config": {"episode_hours": hours}}
    if evaluate_every is not None:
        evaluation["evaluate_every"] = evaluate_every
    fields = {"episode_hours": min(TRAINING_HOURS, problem.episode_hours)}
    return study(env_steps).experiment(
        *(config, algorithm, seed),
        problem=problem,
        fields=fields,
        evaluation=evaluation,
        **given,
    )


def check_files(config: str, problem: Config) -> None:
    """Recorded files must be given where a config is made of them.

    Raises:
        ValueError: if one is not.
    """
    missing = [field for field in FILES.get(config, {}) if not getattr(problem, field)]
    if missing:
        flags = " and ".join(f"--{field.replace('_', '-')}" for field in missing)
        files = ", ".join(FILES[config].values())
        raise ValueError(
            f"config {config} plays recorded files: give {flags}, or set {DATA} to the folder "
            f"that has {files}"
        )


def _settings(config: str, algorithm: str, env_steps: int | None) -> Settings:
    """Schedules are by the length of the training, so a shorter one has all of them too."""
    steps = ENV_STEPS[config] if env_steps is None else env_steps
    training: dict[str, Any] = {"lr": [[0, _LR], [steps // 2, _LR], [steps, _LR / 10]]}
    for name, value in TRAINING[algorithm].items():
        schedule = isinstance(value, tuple)
        training[name] = [[round(at * steps), x] for at, x in value] if schedule else value
    return Settings(
        steps,
        training=_ALL | training,
        env_runners=ENV_RUNNERS[algorithm],
        evaluation={
            "evaluate_every": max(1, steps // EVALUATIONS),
            "evaluation_episodes": EVALUATION_EPISODES,
        },
    )
