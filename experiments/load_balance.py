"""Do load balancers that learn to coordinate beat the best heuristics?

    python experiments/load_balance.py demo
    python experiments/load_balance.py train --preset degraded --algorithm vdn --seed 1
    python experiments/load_balance.py evaluate --policy sed runs/load_balance/moderate/qmix/seed_0
    python experiments/load_balance.py compare --presets moderate large degraded --jobs 2
    python experiments/load_balance.py plot --presets moderate

Every field of the problem is a flag, with the preset's value for a default. What is trained under
changed fields or settings has a folder of its own, named after the changes. Everything is in
runs/load_balance/<preset>/: one folder per run, results.csv, table.md and plots/.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from marlserve.envs.load_balance import BASELINES, MODERATE, PRESETS, Config
from marlserve.experiments import compare, evaluate, plot
from marlserve.experiments.base import RUNS, train
from marlserve.experiments.command_line import carry_out, read_settings
from marlserve.experiments.load_balance_settings import (
    ALGORITHMS,
    METRICS,
    PERCENTILES,
    PROBLEM,
    study,
)

COMPARED = ("moderate", "large", "degraded")

PresetName = Literal[tuple(PRESETS)]
AlgorithmName = Literal[tuple(ALGORITHMS)]
ProblemFlags = Annotated[Config, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class Train:
    """Train one policy, or go on where it was stopped: with Ctrl-C, it leaves a checkpoint."""

    preset: PresetName = "moderate"  # what to train on; the other flags change it
    algorithm: AlgorithmName = "qmix"  # what to train
    seed: int = 0  # of networks, exploration and traffic
    env_steps: int | None = None  # for how long, over all copies; None: 300,000
    settings: tuple[str, ...] = ()  # of the algorithm: name=value, as lr=1e-3 use_gru=false
    num_env_runners: int = 0  # further processes that sample; 0 is fastest on few cores
    checkpoint_every_s: float = 60.0  # between two checkpoints
    overwrite: bool = False  # begin anew, even if there is a finished run
    out: Path = RUNS  # where all runs are
    problem: ProblemFlags = MODERATE

    def run(self, preset: str) -> None:
        given = study(self.env_steps).experiment(
            preset,
            self.algorithm,
            self.seed,
            problem=self.problem,
            settings=read_settings(self.settings),
            env_runners={"num_env_runners": self.num_env_runners} if self.num_env_runners else {},
        )
        train(
            given,
            self.out,
            overwrite=self.overwrite,
            checkpoint_every_s=self.checkpoint_every_s,
        )


@dataclass(frozen=True)
class Evaluate:
    """Play held-out episodes with some policies, add them to results.csv and print a table.

    Learned policies keep their own way of acting (weight levels, step); the other flags say what
    they meet.
    """

    policy: tuple[str, ...]  # names of heuristics, folders of runs, or checkpoints
    preset: PresetName = "moderate"  # what to play; the other flags change it
    episodes: int = 100  # to play with each policy
    out: Path = RUNS  # where all runs are
    problem: ProblemFlags = MODERATE

    def run(self, preset: str) -> None:
        contestants = study().contestants(self.policy)
        folder, rows = study().play(self.out, preset, self.problem, contestants, self.episodes)
        study().show(rows, self.problem, f"{PROBLEM}, {folder.name}")
        print(f"all results: {folder / 'results.csv'}")


@dataclass(frozen=True)
class Compare:
    """Train what does not exist yet, play all policies and heuristics on the same held-out
    episodes, write results.csv and table.md, draw the plots.

    Training is on the preset as it is; the problem's flags change what is played afterwards, as
    --trace bursts: traffic in bursts; --trace flows --trace-path FILE: recorded flows.
    """

    presets: tuple[PresetName, ...] = COMPARED  # what to train on and play
    algorithms: tuple[AlgorithmName, ...] = tuple(ALGORITHMS)  # what to train
    seeds: tuple[int, ...] = (0, 1, 2)  # of the trainings
    episodes: int = 100  # to play with each policy
    env_steps: int | None = None  # of every training; None: 300,000
    jobs: int = 1  # trainings side by side
    out: Path = RUNS  # where all runs are
    problem: ProblemFlags = MODERATE

    def run(self, preset: str) -> None:
        experiments = [
            study(self.env_steps).experiment(preset, algorithm, seed)
            for algorithm in self.algorithms
            for seed in self.seeds
        ]
        evaluate.held_out_seeds(self.episodes)  # a bad number is an error before the training
        folders = compare.train_all(experiments, self.out, self.jobs)
        contestants = study().contestants([*folders, *BASELINES])
        folder, _ = study().play(self.out, preset, self.problem, contestants, self.episodes)
        rows = evaluate.read_results(folder / "results.csv")
        text = study().show(rows, self.problem, f"{PROBLEM}, {folder.name}")
        (folder / "table.md").write_text(text)
        Plot(presets=(folder.name,), out=self.out).run(folder.name)


@dataclass(frozen=True)
class Plot:
    """Draw learning curves and latency percentiles from the files of runs and results."""

    presets: tuple[str, ...] = COMPARED  # folders below runs/load_balance
    out: Path = RUNS  # where all runs are

    def run(self, preset: str) -> None:
        folder = self.out / PROBLEM / preset
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}: train or compare first")
        if any(folder.glob("*/seed_*/progress.jsonl")):
            print(f"learning curves: {plot.learning_curves(folder, METRICS[0])}")
        if (folder / "results.csv").exists():
            print(f"latencies: {plot.bars(folder, PERCENTILES, 'latency_percentiles')}")


@dataclass(frozen=True)
class Demo:
    """Train QMIX on the moderate preset for some minutes, and compare it with the heuristics."""

    episodes: int = 32  # to play with each policy
    out: Path = RUNS / "demo"  # apart from results over more episodes

    def run(self, preset: str) -> None:
        Compare(
            algorithms=("qmix",),
            seeds=(0,),
            episodes=self.episodes,
            out=self.out,
            problem=replace(PRESETS[preset], split="test"),
        ).run(preset)


def main(argv: list[str] | None = None) -> int:
    """Carry out a command line; the exit status."""
    presets = {"compare": COMPARED, "plot": COMPARED}
    standard = dict.fromkeys(("demo", "train", "evaluate"), ("moderate",))
    return carry_out(_commands, presets | standard, __doc__, sys.argv[1:] if argv is None else argv)


def _commands(preset: str) -> dict[str, Any]:
    problem = PRESETS.get(preset, MODERATE)
    tested_on = replace(problem, split="test")
    return {
        "demo": Demo(),
        "train": Train(problem=problem),
        "evaluate": Evaluate(policy=tyro.MISSING, problem=tested_on),
        "compare": Compare(problem=tested_on),
        "plot": Plot(),
    }


if __name__ == "__main__":
    sys.exit(main())
