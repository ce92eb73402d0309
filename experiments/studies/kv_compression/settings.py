"""How bandits are trained on KV compression, and where tables are.

All hyper-parameters that are not the algorithm's defaults are here.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from marlserve.envs.base import settings_of
from marlserve.envs.kv_compression import PRESETS, Config, table
from marlserve.experiments.harness.experiment import label
from marlserve.experiments.studies.study import Settings

PROBLEM = "kv_compression"
AUTO = "auto"  # a table_path: the table of these settings among the runs, made if there is none

# Chosen by regret, on seeds 0 to 2 (tagged) and 100 to 102 (untagged), of prompts that are not
# compared on (TUNING_PROMPTS). Of five types that the context names, each wants every arm tried;
# many features say much about an arm from few trials. Of texts, by agreement on the validation
# prompts of smollm2_5, _10 and _25, on seeds 100 and 101.
TRAINING: dict[str, dict[str, dict[str, Any]]] = {
    "neural_linear": {
        "untagged": {"ucb_beta": 0.3, "ridge": 3.0, "num_networks": 3},
        "tagged": {"ucb_beta": 1.5, "ridge": 1.0},
        "texts": {"ucb_beta": 3.0, "ridge": 1.0},
    },
    "neural_ucb": {
        "untagged": {"ucb_beta": 0.1},
        "tagged": {"ucb_beta": 1.0},
        "texts": {"ucb_beta": 3.0},
    },
    "neural_greedy": {
        "untagged": {"ucb_beta": 0.0, "ridge": 3.0, "num_networks": 3},
        "tagged": {"ucb_beta": 0.0, "ridge": 1.0},
        "texts": {"ucb_beta": 0.0, "ridge": 1.0},
    },
}
EPISODES_PER_UPDATE = 32
ITERATIONS = 94  # 3,008 prompts
# In the course of a training, greedily, of the validation prompts; fewer where the model is asked.
EVALUATION_EPISODES, LIVE_EVALUATION_EPISODES = 1000, 50
EVAL_FREQUENCY = 10  # iterations between two of these


def table_folder(out: Path, problem: Config) -> Path:
    """Where the table of a problem is among the runs; it serves any context, reward and price."""
    nearest, changed = _nearest(problem)
    return Path(out) / PROBLEM / "tables" / label(nearest, changed)


def whole_table(problem: Config) -> Config:
    """The Config that the table of a problem is made with: it has all arms of the nearest preset,
    if these are among them."""
    nearest, changed = _nearest(problem)
    return problem if "arms" in changed else replace(problem, arms=PRESETS[nearest].arms)


def _nearest(problem: Config) -> tuple[str, dict[str, Any]]:
    """A preset, and what in a table of the problem is not as in a table of it."""

    def changed(preset: Config) -> dict[str, Any]:
        served = {"arms"} if set(problem.arms) <= set(preset.arms) else set()
        left_out = served | set(table.NOT_OF_THE_TABLE)
        return {
            name: value
            for name, value in settings_of(problem).items()
            if name not in left_out and value != getattr(preset, name)
        }

    nearest = min(PRESETS, key=lambda name: len(changed(PRESETS[name])))
    return nearest, changed(PRESETS[nearest])


def settings(candidate: str, problem: Config, env_steps: int | None) -> Settings:
    """How a candidate is trained on a problem."""
    evaluated = EVALUATION_EPISODES if problem.table_path else LIVE_EVALUATION_EPISODES
    return Settings(
        ITERATIONS * EPISODES_PER_UPDATE if env_steps is None else env_steps,
        training={"seeds_by_steps": True} | TRAINING[candidate][problem.kind_of_prompts],
        env_runners={"num_envs_per_env_runner": EPISODES_PER_UPDATE},
        evaluation={
            "evaluate_every": EVAL_FREQUENCY * EPISODES_PER_UPDATE,
            "evaluation_episodes": evaluated,
            "evaluation_config": {"split": "validation"},
        },
    )
