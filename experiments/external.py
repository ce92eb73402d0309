"""What is learned from a program that owns its main loop: it flies Gymnasium's LunarLander-v3.

    pip install "marlserve[lander,serve]"
    python experiments/external.py lander --algorithms ppo dqn --seeds 0 1 2

For each algorithm and seed there are a trainer and a program, processes of their own, as
docs/external_training.md starts them by hand. The program flies for so many steps; the policy file
that the trainer saves as it ends is then asked for its best actions in 100 flights that nobody has
learned from. A row of results.csv has their returns, those of the latest 100 flights that were
learned from, exploration included, and what it took. What was cut off before begins anew.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pandas as pd

from marlserve.experiments.harness.command_line import carry_out
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.harness.run import write
from marlserve.experiments.reports.markdown import markdown_lines
from marlserve.experiments.testbed.balancer import free_port
from marlserve.policies import export
from marlserve.policies.export.numpy_policy import NumpyPolicy

OUT = RUNS / "external"
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
_LINE = re.compile(r"([\d,]+) steps, return (\S+), .*lost ([\d,]+)")


@dataclass(frozen=True)
class Lander:
    """Learn to land, and measure how well; what is there already is kept."""

    algorithms: tuple[str, ...] = ("ppo", "dqn")
    seeds: tuple[int, ...] = (0,)
    most_steps: int = 600_000  # of each program
    minutes: float = 120.0  # at most, for each
    flights: int = 100  # that are measured
    out: Path = OUT

    def run(self, study: Any) -> None:
        if unknown := set(self.algorithms) - set(SETTINGS):
            raise ValueError(f"algorithms has {sorted(unknown)}; allowed are {sorted(SETTINGS)}")
        rows = _read(self.out)
        for algorithm in self.algorithms:
            for seed in self.seeds:
                if any((row["algorithm"], row["seed"]) == (algorithm, seed) for row in rows):
                    continue
                rows.append(self._row(algorithm, seed))
                write(self.out / "results.csv", pd.DataFrame(rows).to_csv(index=False))
        print(table(rows))

    def _row(self, algorithm: str, seed: int) -> dict[str, Any]:
        folder = (self.out / f"lander/{algorithm}/seed_{seed}").resolve()
        shutil.rmtree(folder, ignore_errors=True)
        config = program_file(folder, algorithm, seed)
        before = os.times()
        start_s = time.monotonic()
        steps, latest, lost = self._learned(config, seed)
        wall_s = time.monotonic() - start_s
        cpu_s = sum(os.times()[2:4]) - sum(before[2:4])  # of children
        returns = fly(newest_policy(folder), self.flights)
        return {
            "algorithm": algorithm,
            "seed": seed,
            "steps": steps,
            "latest_100": latest,
            "greedy_mean": returns.mean(),
            "greedy_landed": (returns >= 200.0).mean(),
            "lost_steps": lost,
            "wall_s": round(wall_s),
            "cpu_s": round(cpu_s),
        }

    def _learned(self, config: Path, seed: int) -> tuple[int, float, int]:
        """Let the program learn; its steps, its latest mean return, and steps that it lost."""
        said = config.with_name("trainer.txt")
        with said.open("w") as out:
            command = [sys.executable, "-m", "marlserve.serving.trainer", "--config", str(config)]
            trainer = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            command = [sys.executable, "-m", "marlserve.serving.client.lander"]
            command += ["--config", str(config), "--seed", str(seed)]
            command += ["--most-steps", str(self.most_steps), "--minutes", str(self.minutes)]
            line = _followed(command)
        finally:
            trainer.send_signal(signal.SIGTERM)
            trainer.wait()
        if (found := _LINE.search(line)) is None:
            raise ValueError(f"the program ended with {line!r}; {said} may say why")
        steps, latest, lost = found.groups()
        return int(steps.replace(",", "")), float(latest), int(lost.replace(",", ""))


def _followed(command: Sequence[str]) -> str:
    """Let a program run, and show what it says; its last line."""
    line = ""
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        for line in program.stdout:
            print(line, end="", flush=True)
    return line


def program_file(folder: Path, algorithm: str, seed: int) -> Path:
    """What the program and the trainer both read."""
    parameters = {"input_size": 8, "act_dim": 4, "seed": seed, **SETTINGS[algorithm]}
    said = {
        "client_id": "lander",
        "algorithm_name": algorithm,
        "algorithm_parameters": parameters,
        "train_server_address": f"127.0.0.1:{free_port()}",
        "folder": str(folder / "run"),
        "when_full": "wait",
        "buffer_steps": 1_000,
        "niceness": 0,  # the program waits for the learner
    }
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "program.json", json.dumps(said, indent=2))
    return folder / "program.json"


def newest_policy(folder: Path) -> NumpyPolicy:
    """What the trainer saved as it ended."""
    versions = (folder / "run/policies/versions").iterdir()
    return export.load(max(versions, key=lambda path: int(path.name)))


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


def _read(out: Path) -> list[dict[str, Any]]:
    """The rows that there are."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "results.csv"
    return pd.read_csv(file).to_dict("records") if file.exists() else []


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line; the exit status."""
    commands: dict[str, type] = {"lander": Lander}
    return carry_out(commands, None, __doc__, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
