"""How policies are trained on the KV cache, and where the recorded files of presets are.

All hyper-parameters are in TRAINING and ENV_RUNNERS, all budgets in ENV_STEPS.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from marlserve.envs.kv_cache import (
    REALISTIC,
    SERVICE_FLOOR,
    SOURCE_COMPATIBLE,
    SYNTHETIC,
    Config,
)
from marlserve.experiments.harness.experiment import DATA
from marlserve.experiments.studies.schedule import Schedule, falling, in_steps
from marlserve.experiments.studies.study import Settings

# A quarter of the hour lasts long enough to fill and empty the servers some twenty times.
CODE_2023 = Config(split_hours=0.25, episode_hours=0.2)
PRESETS = {
    "synthetic": SYNTHETIC,
    "realistic": REALISTIC,
    "service_floor": SERVICE_FLOOR,
    "code_2023": CODE_2023,
    "source_compatible": replace(SOURCE_COMPATIBLE, split="train"),
}
# Where the files of a preset are, below DATA.
_PROFILE = "kv_profiles/gov_report"
_WEEK = {
    "invocations_path": "azure_llm_2024/invocations_ten_second_Coding.csv",
    "price_path": "caiso/CAISO_20240509_20240521.csv",
    "profile_path": _PROFILE,
}
FILES = {
    "realistic": _WEEK,
    "service_floor": _WEEK,
    "code_2023": {
        "invocations_path": "azure_llm_2023/code.csv",
        "price_path": "caiso/CAISO_20231115_20231117.csv",
        "profile_path": _PROFILE,
    },
}

# A decision shows in what completes until a minute later, and in the queue until that is empty.
_ALL = {"gamma": 0.95, "standardize_rewards": True, "lr": falling(1e-3)}
# Entropy keeps PPO and A2C from a constant before they have met the busy hours.
_ON_POLICY = {"entropy_coeff": Schedule(((0.0, 0.05), (0.6, 0.001)))}
TRAINING: dict[str, dict[str, Any]] = {
    "ppo": _ON_POLICY,
    "ppo_floor": _ON_POLICY,
    "a2c": _ON_POLICY,
    "dqn": {"epsilon": Schedule(((0.0, 1.0), (0.1, 0.05))), "updates_per_step": 8},
    "sac": {"updates_per_step": 8},
    "td3": {"updates_per_step": 8},
}
_MANY = {"num_envs_per_env_runner": 64}
_FEW = {"num_envs_per_env_runner": 32, "rollout_fragment_length": 8}
ENV_RUNNERS: dict[str, dict[str, Any]] = {  # of AlgorithmConfig.env_runners()
    "ppo": _MANY | {"rollout_fragment_length": 64},
    "ppo_floor": _MANY | {"rollout_fragment_length": 64},
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
    "service_floor": 400_000,
    "code_2023": 100_000,
    "source_compatible": 400_000,
}
CAN_MEET_A_FLOOR = ("ppo", "ppo_floor", "a2c")  # others have no price for a constraint
# Under which these are trained, wherever they are played.
OWN_FLOOR = {"ppo_floor": SERVICE_FLOOR.service_floor}
MULTIPLIER_LR = 0.2
EVALUATIONS, EVALUATION_EPISODES, EVALUATION_HOURS = 10, 16, 6.0  # in the course of a training


def presets() -> dict[str, Config]:
    """The presets, with the recorded files where DATA is set."""
    if not (folder := os.environ.get(DATA)):
        return PRESETS
    found = {}
    for name, files in FILES.items():
        paths: dict[str, Any] = {field: str(Path(folder, x)) for field, x in files.items()}
        found[name] = replace(PRESETS[name], **paths)
    return PRESETS | found


def check_files(preset: str, problem: Config) -> None:
    """Recorded files must be given where a preset is made of them.

    Raises:
        ValueError: if one is not.
    """
    missing = [field for field in FILES.get(preset, {}) if not getattr(problem, field)]
    if missing:
        flags = " and ".join(f"--{field.replace('_', '-')}" for field in missing)
        files = ", ".join(FILES[preset].values())
        raise ValueError(
            f"preset {preset} plays recorded files: give {flags}, or set {DATA} to the folder "
            f"that has {files}"
        )


def settings(preset: str, candidate: str, problem: Config, env_steps: int | None) -> Settings:
    """How a candidate is trained on a preset: in short episodes, with evaluations on the way."""
    steps = ENV_STEPS[preset] if env_steps is None else env_steps
    training, evaluation = _ALL | TRAINING[candidate], dict[str, Any]()
    floor = OWN_FLOOR.get(candidate, problem.service_floor)
    if floor:  # the highest return on the way may be of a policy that serves less
        if candidate in CAN_MEET_A_FLOOR:
            training |= {"multiplier_lr": MULTIPLIER_LR}
    else:
        evaluation = {
            "evaluate_every": max(1, steps // EVALUATIONS),
            "evaluation_episodes": EVALUATION_EPISODES,
            "evaluation_config": {"episode_hours": min(EVALUATION_HOURS, problem.episode_hours)},
        }
    return Settings(
        steps,
        training=in_steps(training, steps),
        env_runners=ENV_RUNNERS[candidate],
        evaluation=evaluation,
        fields={"episode_hours": min(TRAINING_HOURS, problem.episode_hours)},
    )
