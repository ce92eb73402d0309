"""How policies are trained to schedule, and where the log of a preset is."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from marlserve.envs.job_scheduling import ESTIMATED, GRID, LUBLIN, Config
from marlserve.experiments.harness.experiment import DATA
from marlserve.experiments.studies.schedule import Schedule, in_steps
from marlserve.experiments.studies.study import Settings

FILES = {"lublin_256": "swf/lublin_256.swf"}  # where the logs of presets are, below DATA
PRESETS = {"lublin": LUBLIN, "lublin_256": Config(), "estimated": ESTIMATED, "grid": GRID}

_PPO: dict[str, Any] = {
    "gamma": 0.97,  # a choice shows in what the next dozens cost
    "lr": Schedule(((0.0, 3e-3), (0.5, 3e-3), (1.0, 3e-4))),
    "entropy_coeff": Schedule(((0.0, 0.01), (1.0, 0.0))),
    "hidden_size": 32,
    "minibatch_size": 512,
}
# What comes of one rejection is its whole reward, see `job_scheduling.reference`.
_INSPECTOR = _PPO | {"gamma": 0.0, "lambda_": 0.0}
TRAINING = {
    "ppo": _PPO,
    "ppo_backfill": _PPO,
    "inspector": _INSPECTOR,
    "inspector_backfill": _INSPECTOR,
}
# In training alone; evaluations on the way are of what is compared.
FIELDS: dict[str, dict[str, Any]] = {
    "inspector": {"reward": "gain"},
    "inspector_backfill": {"reward": "gain"},
}
ENV_RUNNERS: dict[str, Any] = {"num_envs_per_env_runner": 64, "rollout_fragment_length": 128}
ENV_STEPS = {
    **{"ppo": 150_000, "ppo_backfill": 300_000},
    **{"inspector": 60_000, "inspector_backfill": 60_000},
}
EVALUATIONS, EVALUATION_EPISODES = 6, 256  # in the course of a training; slowdowns vary much
# With several clusters a step is one of each scheduler, with a row for each job and cluster.
GRID_STEPS, GRID_RUNNERS = 80_000, ENV_RUNNERS | {"rollout_fragment_length": 64}
GRID_EVALUATIONS = 4, 128


def presets() -> dict[str, Config]:
    """The presets, with the logs where DATA is set."""
    if not (folder := os.environ.get(DATA)):
        return PRESETS
    found = {
        name: replace(PRESETS[name], trace="file", trace_path=str(Path(folder, file)))
        for name, file in FILES.items()
    }
    return PRESETS | found


def check_files(preset: str, problem: Config) -> None:
    """The log must be given where a preset is one.

    Raises:
        ValueError: if it is not.
    """
    if preset in FILES and problem.trace != "file":
        raise ValueError(
            f"preset {preset} plays a log: give --trace file --trace-path FILE, or set {DATA} to "
            f"the folder that has {FILES[preset]}"
        )


def settings(candidate: str, problem: Config, env_steps: int | None) -> Settings:
    """How a candidate is trained, with evaluations on the way."""
    usual = GRID_STEPS if problem.clusters else ENV_STEPS[candidate]
    steps = usual if env_steps is None else env_steps
    number, episodes = EVALUATIONS, EVALUATION_EPISODES
    if problem.clusters:
        number, episodes = GRID_EVALUATIONS
    fields = FIELDS.get(candidate, {})
    return Settings(
        steps,
        training=in_steps(TRAINING[candidate], steps),
        env_runners=GRID_RUNNERS if problem.clusters else ENV_RUNNERS,
        evaluation={
            "evaluate_every": max(1, steps // number),
            "evaluation_episodes": episodes,
            "evaluation_config": {name: getattr(problem, name) for name in fields},
        },
        fields=fields,
    )
