"""Do load balancers that learn to coordinate beat the best heuristics?

    python experiments/load_balance.py demo
    python experiments/load_balance.py train --preset degraded --algorithm vdn --seed 1
    python experiments/load_balance.py train --agent-type qmix --num-servers 16 --num-agents 4 \\
        --trace-type wiki --episodes 1000 --save-path checkpoints/qmix_best
    python experiments/load_balance.py evaluate --model checkpoints/qmix_best --policy sed wcmp
    python experiments/load_balance.py evaluate --policy sed runs/load_balance/moderate/qmix/seed_0
    python experiments/load_balance.py compare --presets moderate large quad degraded --jobs 2
    python experiments/load_balance.py ablate --preset degraded --algorithm qmix --jobs 2
    python experiments/load_balance.py sweep --preset moderate --algorithm qmix --samples 12
    python experiments/load_balance.py plot --presets moderate

Every field of the problem is a flag, with the preset's value for a default. What is trained under
changed fields or settings has a folder of its own, named after the changes. Everything is in
runs/load_balance/<preset>/: one folder per run, results.csv, table.md and plots/.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from marlserve.envs.load_balance import BASELINES, MODERATE, PRESETS, Config
from marlserve.experiments.harness import evaluate, jobs
from marlserve.experiments.harness.command_line import carry_out
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.reports import plot
from marlserve.experiments.studies.load_balance import evaluate as load_balance_evaluate
from marlserve.experiments.studies.load_balance import names as load_balance_names
from marlserve.experiments.studies.load_balance.ablation import Ablate
from marlserve.experiments.studies.load_balance.evaluate import Evaluate
from marlserve.experiments.studies.load_balance.evidence import at_load
from marlserve.experiments.studies.load_balance.settings import (
    ALGORITHMS,
    METRICS,
    PERCENTILES,
    PROBLEM,
    study,
)
from marlserve.experiments.studies.load_balance.sweep import SweepCommand
from marlserve.experiments.studies.load_balance.tables import write_evidence
from marlserve.experiments.studies.load_balance.train import Train

COMPARED = tuple(PRESETS)

PresetName = Literal[tuple(PRESETS)]
AlgorithmName = Literal[tuple(ALGORITHMS)]
ProblemFlags = Annotated[Config, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class Compare:
    """Train what does not exist yet, play all policies and heuristics on the same held-out
    episodes at fixed loads, write results.csv and table.md of each load and, of all presets,
    evidence.md; draw the plots.

    Training is on the preset as it is, with its range of loads; the problem's flags change what is
    played afterwards, as --load 0.5 0.6: this range; --trace bursts: traffic in bursts;
    --trace flows --trace-path FILE: recorded flows. s_sac plays the same traffic with one balancer,
    which sees all flows: compare it with the oracle global_sed.
    """

    presets: tuple[PresetName, ...] = COMPARED  # what to train on and play
    loads: tuple[float, ...] | None = None  # to play; None: the preset's ends; empty: its range
    algorithms: tuple[AlgorithmName, ...] = tuple(ALGORITHMS)  # what to train
    seeds: tuple[int, ...] = (0, 1, 2)  # of the trainings
    episodes: int = 100  # to play with each policy
    env_steps: int | None = None  # of every training; None: 200,000
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
        problems = self._played(preset)
        folders = jobs.train_all(experiments, self.out, self.jobs)
        contestants = study().contestants([*folders, *BASELINES])
        for problem in problems:
            folder = study().report(self.out, preset, problem, contestants, self.episodes)
            if folder.name != preset:  # that one comes last
                _draw(folder)
        Plot(out=self.out).run(preset)

    def _played(self, preset: str) -> list[Config]:
        """What is played: at each of the loads, or over a range of them."""
        changed = self.problem.load != PRESETS[preset].load
        if changed and self.loads:
            raise ValueError(f"loads is {self.loads}, load is {self.problem.load}: give one")
        loads = self.problem.load if self.loads is None and not changed else self.loads
        return [at_load(self.problem, x) for x in dict.fromkeys(loads or ())] or [self.problem]


@dataclass(frozen=True)
class Plot:
    """Draw learning curves and latency percentiles from the files of runs and results, and write
    evidence.md again, if there are results at the ends of a preset's load."""

    presets: tuple[str, ...] = COMPARED  # folders below runs/load_balance
    out: Path = RUNS  # where all runs are

    def run(self, preset: str) -> None:
        folder = self.out / PROBLEM / preset
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}: train or compare first")
        _draw(folder)
        if written := write_evidence(self.out):
            print(f"evidence: {written}")


def _draw(folder: Path) -> None:
    """What the files of a folder allow."""
    if plot.knows(folder, METRICS[0]):
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
            loads=(),
            algorithms=("qmix",),
            seeds=(0,),
            episodes=self.episodes,
            out=self.out,
            problem=replace(PRESETS[preset], split="test"),
        ).run(preset)


def main(argv: list[str] | None = None) -> int:
    """Carry out a command line; the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    presets = {"compare": COMPARED, "plot": COMPARED}
    standard = dict.fromkeys(("demo", "train", "evaluate", "sweep"), ("moderate",))
    standard["ablate"] = ("degraded",)
    commands = partial(_commands, argv=arguments)
    return carry_out(commands, presets | standard, __doc__, arguments)


def _commands(preset: str, argv: Sequence[str]) -> dict[str, Any]:
    """The commands with the defaults of a preset, and of what `argv` names otherwise."""
    problem, command = PRESETS.get(preset, MODERATE), next(iter(argv), "")
    trained_on = load_balance_names.problem_of(argv, problem) if command == "train" else problem
    model = load_balance_evaluate.problem_of(argv) if command == "evaluate" else None
    tested_preset, tested_on = model or (preset or "moderate", problem)
    return {
        "demo": Demo(),
        "train": Train(problem=trained_on),
        "evaluate": Evaluate(preset=tested_preset, problem=replace(tested_on, split="test")),
        "compare": Compare(problem=replace(problem, split="test")),
        "plot": Plot(),
        "ablate": Ablate(),
        "sweep": SweepCommand(problem=problem),
    }


if __name__ == "__main__":
    sys.exit(main())
