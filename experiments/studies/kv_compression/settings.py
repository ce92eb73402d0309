"""What is trained and compared on KV compression: configs, algorithms, their settings, what counts.

All hyper-parameters that are not the algorithm's defaults are here.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from marlserve.envs.kv_compression import BASELINES, PRESETS, REWARDS, Config, table
from marlserve.envs.kv_compression.baselines import ARMS
from marlserve.experiments.harness.experiment import Experiment, label
from marlserve.experiments.studies.study import Settings, Study, changes

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
# Chosen by regret, on seeds 0 to 2 (tagged) and 100 to 102 (untagged). Of five types that the
# context names, each wants every arm tried; many features say much about an arm from few trials.
TRAINING: dict[str, dict[str, dict[str, Any]]] = {
    "neural_ucb": {
        "untagged": {"ucb_beta": 0.3, "ridge": 3.0, "num_networks": 3},
        "tagged": {"ucb_beta": 1.5, "ridge": 1.0},
    },
    "neural_ucb_gradient": {"untagged": {"ucb_beta": 0.1}, "tagged": {"ucb_beta": 1.0}},
    "neural_ucb_linear": {
        "untagged": {"ucb_beta": 0.1, "ridge": 100.0},
        "tagged": {"ucb_beta": 0.3, "ridge": 1.0},
    },
    "neural_greedy": {
        "untagged": {"ucb_beta": 0.0, "ridge": 3.0, "num_networks": 3},
        "tagged": {"ucb_beta": 0.0, "ridge": 1.0},
    },
}
EPISODES_PER_UPDATE = 32
ITERATIONS = 94  # 3,008 prompts
# In the course of a training, greedily, of the validation prompts; fewer where the model is asked.
EVALUATION_EPISODES, LIVE_EVALUATION_EPISODES = 1000, 50
EVAL_FREQUENCY = 10  # iterations between two of these

INTERFACE = ("arms", "context")  # how a policy sees and acts, not what it meets
METRICS = ("agreement", "regret", "cosine")  # regret is known from a table only


def study(config: str, problem: Config, iterations: int = ITERATIONS) -> Study:
    """What is compared.

    Args:
        config: whose standard settings are used,
        problem: and what is made of it; without a table, its results have a folder of their own.
        iterations: of a training.
    """
    table_path = problem.table_path or AUTO
    metrics = METRICS if problem.table_path else tuple(x for x in METRICS if x != "regret")
    return Study(
        problem=PROBLEM,
        presets={config: replace(CONFIGS[config], table_path=table_path)},
        algorithms=ALGORITHMS,
        settings=lambda config, algorithm: _settings(config, algorithm, iterations),
        interface=INTERFACE,
        metrics=metrics,
        references=tuple(name for name, x in BASELINES.items() if not x.oracle),
        gap=(ARMS, "oracle"),
        larger_is_better=True,
        rank_by=dict.fromkeys(REWARDS, "return") if problem.entry_price else {"cosine": "cosine"},
        num_envs=1000 if problem.table_path else 32,
        checkpoint="final",  # the best one was chosen by rewards that no other bandit was told
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
    evaluated = EVALUATION_EPISODES if problem.table_path else LIVE_EVALUATION_EPISODES
    return study(config, problem, iterations).experiment(
        config,
        algorithm,
        seed,
        problem=problem,
        env_steps=iterations * episodes_per_update,
        settings=given,
        env_runners={"num_envs_per_env_runner": episodes_per_update},
        evaluation={
            "evaluate_every": eval_frequency * episodes_per_update,
            "evaluation_episodes": evaluated,
            "evaluation_config": {"split": "validation"},
        },
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
        training={"seeds_by_steps": True} | TRAINING[algorithm][config],
    )
