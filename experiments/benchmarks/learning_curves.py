"""What the algorithms learn with the settings that they ship with, on tasks of others.

    python -m marlserve.experiments.benchmarks.learning_curves                   # all, 25 min
    python -m marlserve.experiments.benchmarks.learning_curves --algorithms qmix vdn --seeds 0

The tasks are MPE2's simple_spread with its three agents, and Gymnasium's classic control. A score
is the mean return of greedy episodes, summed over the agents, as EPyMARL counts it. Nothing is set
but the task, the mixer of VDN, and the seed.

curves.csv in the folder `out` has one row per task, algorithm, seed and score on the way; what is
there already is not trained again. table.md and curves.png are made of it.
"""

import sys
from collections.abc import Generator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import torch
import tyro
from ray.rllib.algorithms.algorithm import Algorithm

from marlserve import policies
from marlserve.experiments.reports.markdown import markdown_lines
from marlserve.experiments.reports.plot import in_thousands, new_figure
from marlserve.policies.sampling.gymnasium_env import GymnasiumEnv
from marlserve.policies.sampling.multi_agent_env import PettingZooEnv

OUT = Path(__file__).parents[1] / "results" / "defaults"
SCORES = 4  # on the way, beside that of the first weights


@dataclass(frozen=True)
class Task:
    """Where to learn, and for how many env-steps each algorithm does."""

    env: type
    env_config: dict[str, Any]
    env_steps: dict[str, int]
    episodes: int = 30  # for a score


TASKS = {
    "simple_spread": Task(
        PettingZooEnv,
        {"maker": "mpe2.simple_spread_v3:parallel_env", "kwargs": {"N": 3}},
        {"qmix": 25_000, "vdn": 25_000, "ppo": 50_000, "sac": 10_000},
        episodes=100,
    ),
    "CartPole-v1": Task(
        GymnasiumEnv,
        {"id": "CartPole-v1"},
        {"ppo": 50_000, "a2c": 100_000, "dqn": 50_000, "sac": 10_000},
    ),
    "Acrobot-v1": Task(
        GymnasiumEnv, {"id": "Acrobot-v1"}, {"ppo": 50_000, "dqn": 50_000, "sac": 10_000}
    ),
    "Pendulum-v1": Task(GymnasiumEnv, {"id": "Pendulum-v1"}, {"sac": 8_000, "td3": 8_000}),
}
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {"vdn": ("qmix", {"mixer": "vdn"})}

ALGORITHMS = tuple(dict.fromkeys(name for task in TASKS.values() for name in task.env_steps))

if TYPE_CHECKING:
    TaskName = str
    AlgorithmName = str
else:  # what the command line allows
    TaskName, AlgorithmName = Literal[tuple(TASKS)], Literal[ALGORITHMS]


@dataclass(frozen=True)
class Row:
    """The score of a policy after so many env-steps of its training."""

    task: str
    algorithm: str
    seed: int
    env_steps: int
    score: float


_COLUMNS = tuple(field.name for field in fields(Row))


def curve(
    task: str, algorithm: str, seed: int, env_steps: int | None = None, scores: int = SCORES
) -> Generator[Row, None, None]:
    """Train with an algorithm's own settings.

    Args:
        task: one of TASKS.
        algorithm: one that has env-steps there.
        seed: of the training.
        env_steps: for how long; None: the task's.
        scores: how many on the way, the last one included; the first weights have one too.
    """
    where, steps = TASKS[task], 0
    budget = env_steps or where.env_steps[algorithm]
    module, settings = SETTINGS.get(algorithm, (algorithm, {}))
    config = (
        policies.config(module, **settings)
        .environment(where.env, env_config=where.env_config)
        .evaluation(
            evaluation_interval=10**9,  # on demand only
            evaluation_duration=where.episodes,
            evaluation_num_env_runners=0,
            evaluation_config={"explore": False, "num_envs_per_env_runner": where.episodes},
        )
        .debugging(seed=seed)
    )
    per_iteration = config.num_envs_per_env_runner * config.get_rollout_fragment_length()
    trained = config.build_algo()
    try:
        for goal in [budget * part // scores for part in range(scores + 1)]:
            while steps + per_iteration <= goal:
                trained.training_step()
                steps += per_iteration
            yield Row(task, algorithm, seed, steps, _score(trained))
    finally:
        trained.stop()


def _score(trained: Algorithm) -> float:
    return round(float(trained.evaluate()["env_runners"]["episode_return_mean"]), 2)


def table(rows: pd.DataFrame) -> str:
    """Markdown: the scores before and after training, mean and range over seeds."""
    lines = []
    for (task, algorithm), some in rows.groupby(["task", "algorithm"], sort=False):
        by_steps = some.groupby("env_steps")["score"].agg(["mean", "min", "max"])
        first, last = by_steps.iloc[0], by_steps.iloc[-1]
        scores = f"{last['mean']:.1f} [{last['min']:.1f}, {last['max']:.1f}]"
        steps, seeds = f"{by_steps.index[-1]:,}", str(some["seed"].nunique())
        lines.append([task, algorithm, steps, f"{first['mean']:.1f}", scores, seeds])
    header = ["task", "algorithm", "env-steps", "score at first", "score, range", "seeds"]
    return markdown_lines(header, lines, ["---", "---", *["---:"] * 4])


def draw(rows: pd.DataFrame, path: Path) -> None:
    """A panel for each task, a line for each algorithm; the range over seeds is its shade."""
    figure, panels = new_figure(2, 2, height=5.6)
    colours = {name: f"C{i}" for i, name in enumerate(rows["algorithm"].unique())}
    for panel, (task, some) in zip(panels.flat, rows.groupby("task", sort=False), strict=False):
        for algorithm, curves in some.groupby("algorithm", sort=False):
            scores = curves.groupby("env_steps")["score"].agg(["mean", "min", "max"])
            colour = colours[algorithm]
            panel.plot(scores["mean"], color=colour, marker=".", label=algorithm)
            panel.fill_between(
                scores.index, scores["min"], scores["max"], color=colour, alpha=0.2, linewidth=0
            )
        panel.set(title=task, xlabel="env-steps", ylabel="greedy return")
        in_thousands(panel.xaxis, sep="")
        panel.legend(fontsize="x-small", frameon=False)
    figure.savefig(path)


@dataclass(frozen=True)
class Defaults:
    """Train, and write curves.csv, table.md and curves.png."""

    tasks: tuple[TaskName, ...] = tuple(TASKS)
    algorithms: tuple[AlgorithmName, ...] = ALGORITHMS
    seeds: tuple[int, ...] = (0, 1, 2)  # of the trainings
    out: Path = OUT  # a folder

    def run(self) -> None:
        file = self.out / "curves.csv"
        rows = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=list(_COLUMNS))
        torch.set_num_threads(1)
        for seed in self.seeds:
            for task in self.tasks:
                for algorithm in TASKS[task].env_steps:
                    key = (task, algorithm, seed)
                    done = rows[["task", "algorithm", "seed"]].eq(list(key)).all(axis=1).any()
                    if algorithm in self.algorithms and not done:
                        new = pd.DataFrame(map(asdict, curve(*key)))
                        print(new.to_string(index=False, header=False), flush=True)
                        rows = pd.concat([rows, new]) if len(rows) else new
                        self.out.mkdir(parents=True, exist_ok=True)
                        rows.to_csv(file, index=False)
        (self.out / "table.md").write_text(table(rows) + "\n")
        draw(rows, self.out / "curves.png")


if __name__ == "__main__":
    try:
        tyro.cli(Defaults, description=__doc__).run()
    except ValueError as error:
        sys.exit(f"error: {error}")
