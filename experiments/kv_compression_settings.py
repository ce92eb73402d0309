"""What is trained and compared on KV compression: configs, algorithms, their settings, what counts.

All hyper-parameters that are not the algorithm's defaults are here.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from marlserve.envs.kv_compression import BASELINES, PRESETS, Config, table
from marlserve.envs.kv_compression.baselines import ARMS
from marlserve.experiments.base import Experiment, label
from marlserve.experiments.study import Settings, Study, changes

PROBLEM = "kv_compression"
CONFIGS = PRESETS
AUTO = "auto"  # a table_path: the table of these settings among the runs, made if there is none

# What is learned: (algorithm, its settings, fields of the problem).
ALGORITHMS: dict[str, tuple[str, dict, dict]] = {
    "neural_ucb": ("neural_ucb", {"features": "neural_linear"}, {}),
    "neural_ucb_gradient": ("neural_ucb", {"features": "gradient"}, {}),
    "neural_ucb_linear": ("neural_ucb", {"features": "linear"}, {}),
    "neural_greedy": ("neural_ucb", {"features": "neural_linear"}, {}),
}
# The bonus: of five types that the context names, each wants every arm tried; many features say
# much about an arm from few trials.
UCB_BETA: dict[str, dict[str, float]] = {
    "neural_ucb": {"untagged": 0.3, "tagged": 1.5},
    "neural_ucb_gradient": {"untagged": 0.1, "tagged": 1.0},
    "neural_ucb_linear": {"untagged": 0.3, "tagged": 0.3},
    "neural_greedy": {"untagged": 0.0, "tagged": 0.0},
}
EPISODES_PER_UPDATE = 32
ITERATIONS = 94  # 3,008 prompts
EVALUATION_EPISODES = 1000  # in the course of a training: of training prompts, greedily
EVAL_FREQUENCY = 10  # iterations between two of these

INTERFACE = ("arms", "context")  # how a policy sees and acts, not what it meets
METRICS = ("agreement", "regret", "cosine")


def study(tables: dict[str, str], iterations: int = ITERATIONS) -> Study:
    """What is compared.

    Args:
        tables: {config: its table_path}.
        iterations: of a training.
    """
    return Study(
        problem=PROBLEM,
        presets={name: replace(x, table_path=tables.get(name, "")) for name, x in CONFIGS.items()},
        algorithms=ALGORITHMS,
        settings=lambda config, algorithm: _settings(config, algorithm, iterations),
        interface=INTERFACE,
        metrics=METRICS,
        references=tuple(name for name, x in BASELINES.items() if not x.oracle),
        gap=(ARMS, "oracle"),
        larger_is_better=True,
        rank_by={"cosine": "cosine"},
        num_envs=1000,
    )


def experiment(
    config: str,
    algorithm: str,
    seed: int,
    problem: Config,
    *,
    iterations: int,
    episodes_per_update: int,
    eval_frequency: int,
    settings: dict[str, Any] | None = None,
) -> Experiment:
    """As `Study.experiment`, with budgets in iterations."""
    given = dict(settings or {})
    if episodes_per_update != EPISODES_PER_UPDATE:
        given["episodes_per_update"] = episodes_per_update
    copies = episodes_per_update if problem.table_path else 1
    return study({config: problem.table_path}, iterations).experiment(
        config,
        algorithm,
        seed,
        problem=problem,
        env_steps=iterations * episodes_per_update,
        settings=given,
        env_runners={"num_envs_per_env_runner": copies},
        evaluation={"evaluate_every": eval_frequency * episodes_per_update},
    )


def table_folder(out: Path, problem: Config) -> Path:
    """Where the table of a problem is among the runs; it serves any context, reward and price."""
    nearest = "tagged" if problem.tagged else "untagged"
    changed = changes(CONFIGS[nearest], problem).items()
    changed = {name: value for name, value in changed if name not in table.NOT_OF_THE_TABLE}
    return Path(out) / PROBLEM / "tables" / label(nearest, changed)


def _settings(config: str, algorithm: str, iterations: int) -> Settings:
    return Settings(
        iterations * EPISODES_PER_UPDATE,
        training={"seeds_by_steps": True, "ucb_beta": UCB_BETA[algorithm][config]},
        env_runners={"num_envs_per_env_runner": EPISODES_PER_UPDATE},
        evaluation={
            "evaluate_every": EVAL_FREQUENCY * EPISODES_PER_UPDATE,
            "evaluation_episodes": EVALUATION_EPISODES,
        },
    )
