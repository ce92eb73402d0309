"""Does NeuralUCB find the best arm where a linear model cannot, as in its paper?

    python experiments/contextual_bandit.py train --preset cosine --algorithms neural_ucb --seeds 1
    python experiments/contextual_bandit.py compare --seeds 0 1 2 3 4
    python experiments/contextual_bandit.py plot

What counts is the cumulative regret while learning, so there is nothing to evaluate afterwards.
Each seed is an instance of its own, of theta and of A. As in section 7.1 of Zhou, Li, Gu (2020,
arXiv 1911.04462) there are three functions, which are the presets, 10,000 rounds, 4 arms and 20
dimensions; the network is retrained after every 20 rounds.

All three functions are even: over all contexts, the best linear model of them is a constant.

Every field of the problem is a flag. Everything is in runs/contextual_bandit/<preset>/:
<algorithm>/seed_<n>/ for every run, regret.csv, regret.md and plots/.
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import tyro

from marlserve.envs.contextual_bandit import BASELINES, INNER_PRODUCT, PRESETS, Config, Problem
from marlserve.experiments.harness.command_line import carry_out, read_settings
from marlserve.experiments.harness.evaluate import FIRST_TEST_SEED
from marlserve.experiments.harness.experiment import RUNS, Experiment, label
from marlserve.experiments.harness.jobs import train_all
from marlserve.experiments.harness.run import write
from marlserve.experiments.reports import regret
from marlserve.experiments.reports.regret_plot import cumulative_regret
from marlserve.experiments.studies.study import Settings, Study, changes

PROBLEM = "contextual_bandit"
# What is learned: (algorithm, its settings, fields of the problem).
ALGORITHMS: dict[str, tuple[str, dict, dict]] = {
    "neural_ucb": ("neural_ucb", {"features": "gradient", "ucb_beta": 0.1}, {}),
    "neural_linear": ("neural_ucb", {"features": "neural_linear", "ucb_beta": 0.3}, {}),
    "linucb": ("neural_ucb", {"features": "linear", "ucb_beta": 1.0}, {}),
}
REFERENCE, RANDOM = "linucb", "random"
ROUNDS, ROUNDS_PER_UPDATE = 10_000, 20
# The network and the contexts are those of the paper. Much of a reward is noise: large batches, and
# strong decay. Contexts differ in each round, so that even a greedy policy explores: little beta.
TRAINING = {
    "standardize_contexts": False,
    "seeds_by_steps": True,
    "hidden_sizes": [100],
    "train_batch_size_per_learner": 256,
    "updates_per_step": 16,
    "lr": 2e-3,
    "weight_decay": 1.0,
    "episodes_per_update": ROUNDS_PER_UPDATE,
}
SETTINGS = Settings(ROUNDS, TRAINING, {"num_envs_per_env_runner": ROUNDS_PER_UPDATE})
STUDY = Study(
    problem=PROBLEM,
    presets=PRESETS,
    algorithms=ALGORITHMS,
    settings=lambda preset, algorithm: SETTINGS,
    interface=(),
    metrics=(regret.REGRET,),
)
_COPIES = 100  # of the problem, in which arms are drawn at random

PresetNames = Annotated[tuple[Literal[tuple(PRESETS)], ...], tyro.conf.arg(aliases=["--preset"])]
AlgorithmName = Literal[tuple(ALGORITHMS)]
Seeds = Annotated[tuple[int, ...], tyro.conf.arg(aliases=["--seed"])]
ProblemFlags = Annotated[Config, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class Train:
    """Train policies, or go on where they were stopped: with Ctrl-C, they leave checkpoints."""

    presets: PresetNames = tuple(PRESETS)  # what to train on; the other flags change it
    algorithms: tuple[AlgorithmName, ...] = tuple(ALGORITHMS)  # what to train, in turn
    seeds: Seeds = (0,)  # of networks, instances and rounds: a run for each
    rounds: int = ROUNDS  # of every training
    settings: tuple[str, ...] = ()  # of the algorithms: name=value, as ucb_beta=0.5
    overwrite: bool = False  # begin anew, even if there is a finished run
    checkpoint_every_s: float = 60.0  # between two checkpoints
    jobs: int = 1  # trainings side by side
    out: Path = RUNS  # where all runs are
    problem: ProblemFlags = INNER_PRODUCT

    def run(self, preset: str) -> None:
        train_all(
            _experiments(self, preset, read_settings(self.settings)),
            self.out,
            self.jobs,
            overwrite=self.overwrite,
            checkpoint_every_s=self.checkpoint_every_s,
        )


@dataclass(frozen=True)
class Compare:
    """Train what does not exist yet, play at random, write regret.csv and regret.md, draw the plot.

    The table is over the seeds that all policies in regret.csv have in common.
    """

    presets: PresetNames = tuple(PRESETS)  # what to train on; the other flags change it
    algorithms: tuple[AlgorithmName, ...] = tuple(ALGORITHMS)  # what to train
    seeds: Seeds = (0, 1, 2, 3, 4)  # of networks, instances and rounds: a run for each
    rounds: int = ROUNDS  # of every training
    jobs: int = 1  # trainings side by side
    out: Path = RUNS  # where all runs are
    problem: ProblemFlags = INNER_PRODUCT

    def run(self, preset: str) -> None:
        runs = train_all(_experiments(self, preset), self.out, self.jobs)
        played = {
            (RANDOM, seed): random_curve(self.problem, self.rounds, seed) for seed in self.seeds
        }
        folder = _folder(self, preset)
        rows = regret.merge(folder / "regret.csv", regret.of_runs(runs) | played)
        reference = REFERENCE if REFERENCE in set(rows["policy"]) else RANDOM
        write(folder / "regret.md", regret.show(rows, f"{PROBLEM}, {folder.name}", reference))
        _draw(folder)


@dataclass(frozen=True)
class Plot:
    """Draw the cumulative regret from regret.csv."""

    presets: PresetNames = tuple(PRESETS)  # whose; the other flags change it
    out: Path = RUNS  # where all runs are
    problem: ProblemFlags = INNER_PRODUCT

    def run(self, preset: str) -> None:
        _draw(_folder(self, preset))


def random_curve(config: Config, rounds: int, seed: int) -> pd.DataFrame:
    """The cumulative regret of arms at random, on the instance of this seed.

    Args:
        config: its instance_seed is replaced.
        rounds: at least 1.
        seed: also of the rounds, which are not those of any training.

    Returns:
        as `regret.curve` gives it.
    """
    problem = Problem(replace(config, instance_seed=seed), _COPIES)
    first = FIRST_TEST_SEED + seed * _COPIES
    observations, parts = problem.reset(list(range(first, first + _COPIES))), []
    act = BASELINES[RANDOM].policy(problem)
    for _ in range(-(-rounds // _COPIES)):
        problem.step(act({"player": observations[:, 0]})["player"][:, None])
        parts.append(problem.metrics()[regret.REGRET])
        observations = problem.reset()
    return regret.curve(np.concatenate(parts)[:rounds])


def main(argv: list[str] | None = None) -> int:
    """Carry out a command line; the exit status."""
    standard = dict.fromkeys(("train", "compare", "plot"), tuple(PRESETS))
    return carry_out(_commands, standard, __doc__, sys.argv[1:] if argv is None else argv)


def _commands(preset: str) -> dict[str, Any]:
    problem = PRESETS.get(preset, INNER_PRODUCT)
    commands = {"train": Train, "compare": Compare, "plot": Plot}
    return {name: command(problem=problem) for name, command in commands.items()}


def _experiments(
    command: Train | Compare, preset: str, settings: dict[str, Any] | None = None
) -> list[Experiment]:
    make = partial(
        STUDY.experiment, problem=_checked(command), env_steps=command.rounds, settings=settings
    )
    return [
        make(preset, algorithm, seed, fields={"instance_seed": seed})
        for algorithm in command.algorithms
        for seed in command.seeds
    ]


def _folder(command: Compare | Plot, preset: str) -> Path:
    return command.out / PROBLEM / label(preset, changes(PRESETS[preset], _checked(command)))


def _checked(command: Train | Compare | Plot) -> Config:
    if given := command.problem.instance_seed:
        raise ValueError(f"instance_seed is {given}; it follows from the seed: give --seeds")
    return command.problem


def _draw(folder: Path) -> None:
    print(f"plot: {cumulative_regret(folder)}")


if __name__ == "__main__":
    sys.exit(main())
