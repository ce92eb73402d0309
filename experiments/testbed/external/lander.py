"""A program that flies Gymnasium's LunarLander-v3.

The policy file that the trainer saves as it ends is asked for its best actions in 100 flights that
nobody has learned from. A row of results.csv has their returns, those of the latest 100 flights
that were learned from, exploration included, and what it took.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.reports.markdown import markdown_lines
from marlserve.experiments.testbed.external import processes
from marlserve.policies.export.numpy_policy import NumpyPolicy

SETTINGS: dict[str, dict[str, Any]] = {  # algorithm_parameters
    "ppo": {
        "gamma": 0.999,
        "lambda_": 0.98,
        "lr": 1e-3,
        "entropy_coeff": 0.01,
        "train_batch_size_per_learner": 4_096,
        "minibatch_size": 256,
        "num_epochs": 10,
    },
    "dqn": {},  # as the trainer has it
}
_FIRST_TEST_SEED = 10_000  # of flights that are not learned from; training's are drawn from `seed`


@dataclass(frozen=True)
class Lander:
    """Learn to land, and measure how well; what is there already is kept."""

    algorithms: tuple[str, ...] = ("ppo", "dqn")
    seeds: tuple[int, ...] = (0,)
    most_steps: int = 600_000  # of each program
    minutes: float = 120.0  # at most, for each
    flights: int = 100  # that are measured
    out: Path = RUNS / "external"

    def run(self, study: Any) -> None:
        if unknown := set(self.algorithms) - set(SETTINGS):
            raise ValueError(f"algorithms has {sorted(unknown)}; allowed are {sorted(SETTINGS)}")
        file = self.out / "results.csv"
        rows = processes.read(file)
        for algorithm in self.algorithms:
            for seed in self.seeds:
                if any((row["algorithm"], row["seed"]) == (algorithm, seed) for row in rows):
                    continue
                processes.add(file, rows, self._row(algorithm, seed))
        print(table(rows))

    def _row(self, algorithm: str, seed: int) -> dict[str, Any]:
        folder = (self.out / f"lander/{algorithm}/seed_{seed}").resolve()
        flags = ["--seed", str(seed), "--most-steps", str(self.most_steps)]
        flags += ["--minutes", str(self.minutes)]
        learned = processes.learn(folder, told(algorithm, seed), "lander", flags)
        returns = fly(NumpyPolicy(processes.newest_policy(folder)), self.flights)
        row = {"algorithm": algorithm, "seed": seed, **asdict(learned)}
        row |= {"greedy_mean": returns.mean(), "greedy_landed": (returns >= 200.0).mean()}
        return row


def told(algorithm: str, seed: int) -> dict[str, Any]:
    """What the program's file says of learning."""
    parameters = {"input_size": 8, "act_dim": 4, "seed": seed, **SETTINGS[algorithm]}
    return {
        "client_id": "lander",
        "algorithm_name": algorithm,
        "algorithm_parameters": parameters,
        "buffer_steps": 1_000,
    }


def fly(policy: NumpyPolicy, flights: int) -> np.ndarray:
    """The returns of so many flights, with the best actions."""
    env = gymnasium.make("LunarLander-v3", disable_env_checker=True)
    returns = np.zeros(flights)
    for flight in range(flights):
        seen, _ = env.reset(seed=_FIRST_TEST_SEED + flight)
        over = False
        while not over:
            action = policy({"agent": seen[None]})["agent"]
            seen, reward, terminated, truncated, _ = env.step(int(action[0]))
            returns[flight] += reward
            over = terminated or truncated
    return returns


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Of all that was learned."""
    cells = [
        [
            row["algorithm"],
            str(row["seed"]),
            f"{row['steps']:,}",
            f"{row['latest_100']:.0f}",
            f"{row['greedy_mean']:.0f}",
            f"{row['greedy_landed']:.2f}",
            f"{row['lost_steps']:,}",
            f"{row['wall_s']:,}",
            f"{row['cpu_s']:,}",
        ]
        for row in rows
    ]
    header = ["algorithm", "seed", "steps", "latest 100 flights", "100 others, greedy"]
    header += ["of them 200 or more", "steps lost", "s", "CPU s"]
    return markdown_lines(header, cells, ["---", *["---:"] * (len(header) - 1)])
