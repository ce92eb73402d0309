"""Does a bandit that looks at a prompt compress its KV cache better than one fixed method?

    python experiments/kv_compression.py train --config tagged --iterations 94
    python experiments/kv_compression.py evaluate --models-dir runs/kv_compression/untagged
    python experiments/kv_compression.py compare --config untagged --seeds 0 1 2 3 4 --jobs 2
    python experiments/kv_compression.py plot --config untagged
    python experiments/kv_compression.py make-table --model-name some/model --devices cuda:0 cuda:1
    python experiments/kv_compression.py make-model --seed 0

Every field of the problem is a flag, with the config's value for a default: --budgets, --context,
--reward cosine, --model-name and so on. Trainings look outcomes up in a table of prompts and arms,
which is made before them if it is not there; with --table-path "" they ask the model each time, and
nobody knows the regret.
Everything is in runs/kv_compression/: tables/, and <config>/ with <algorithm>/seed_<n>/ for every
run (progress.jsonl, evaluation.jsonl, checkpoint/), results.csv, table.md, regret.csv and plots/.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from marlserve.envs.kv_compression import UNTAGGED, Config
from marlserve.experiments.harness import evaluate, jobs
from marlserve.experiments.harness.command_line import carry_out, read_settings
from marlserve.experiments.harness.experiment import RUNS, Experiment
from marlserve.experiments.harness.run import read_experiment
from marlserve.experiments.harness.training import train
from marlserve.experiments.studies.kv_compression import settings as standard
from marlserve.experiments.studies.kv_compression.model import MakeModel
from marlserve.experiments.studies.kv_compression.plots import draw
from marlserve.experiments.studies.kv_compression.regret import baselines, write_regrets
from marlserve.experiments.studies.kv_compression.settings import ALGORITHMS, AUTO, CONFIGS
from marlserve.experiments.studies.kv_compression.tables import (
    SPLITS,
    MakeTable,
    named_table,
    with_table,
)

ConfigName = Annotated[Literal[tuple(CONFIGS)], tyro.conf.arg(aliases=["--preset"])]
AlgorithmName = Literal[tuple(ALGORITHMS)]
Seeds = Annotated[tuple[int, ...], tyro.conf.arg(aliases=["--seed"])]
Out = Annotated[Path, tyro.conf.arg(aliases=["--save-dir"])]
ProblemFlags = Annotated[Config, tyro.conf.arg(name="")]
_DEFAULT = replace(UNTAGGED, table_path=AUTO)
_STEPS = standard.ITERATIONS * standard.EPISODES_PER_UPDATE


@dataclass(frozen=True)
class Train:
    """Train bandits, or go on where they were stopped: with Ctrl-C, they leave checkpoints.

    Every run also keeps its best policy by greedy episodes on the way.
    """

    config: ConfigName = "untagged"  # what to train on; the other flags change it
    algorithms: tuple[AlgorithmName, ...] = ("neural_ucb",)  # what to train, in turn
    seeds: Seeds = (0,)  # of networks and of the order of prompts: a run for each
    iterations: int = standard.ITERATIONS  # updates
    episodes_per_update: int = standard.EPISODES_PER_UPDATE  # prompts in each
    lr: float | None = None  # learning rate; None: the algorithm's own
    ucb_beta: float | None = None  # how much exploration; None: the algorithm's own
    uncertainty_coef: float | None = None  # regularisation by uncertainty; None: likewise
    settings: tuple[str, ...] = ()  # of the algorithms: name=value, as ridge=0.1
    eval_frequency: int = standard.EVAL_FREQUENCY  # iterations between evaluations; 0: none
    checkpoint_every_s: float = 60.0  # between two checkpoints
    overwrite: bool = False  # begin anew, even if there is a finished run
    resume: Path | None = None  # a run to go on with, as it was begun; other flags do not count
    jobs: int = 1  # trainings side by side
    out: Out = RUNS  # where all runs are
    problem: ProblemFlags = _DEFAULT

    def run(self, config: str) -> None:
        if self.resume is not None:
            experiment, out = _begun(self.resume)
            steps = self.iterations * self.episodes_per_update
            if steps not in (_STEPS, experiment.env_steps):
                raise ValueError(
                    f"iterations make {steps:,} prompts; {self.resume} was begun for "
                    f"{experiment.env_steps:,}, and goes on to these"
                )
            train(experiment, out, checkpoint_every_s=self.checkpoint_every_s)
            return
        problem = with_table(self.problem, self.out, ("train", "validation"))
        flags = ("lr", "ucb_beta", "uncertainty_coef")
        given = {name: value for name in flags if (value := getattr(self, name)) is not None}
        experiments = [
            standard.experiment(
                *(config, algorithm, seed, problem),
                iterations=self.iterations,
                episodes_per_update=self.episodes_per_update,
                eval_frequency=self.eval_frequency,
                settings=given | read_settings(self.settings),
            )
            for algorithm in self.algorithms
            for seed in self.seeds
        ]
        how = {"overwrite": self.overwrite, "checkpoint_every_s": self.checkpoint_every_s}
        jobs.train_all(experiments, self.out, self.jobs, **how)


@dataclass(frozen=True)
class Evaluate:
    """Answer held-out prompts with trained bandits and baselines, add the results to results.csv
    and table.md, and print the table. Trained ones play greedily, without any bonus."""

    models_dir: Path | None = None  # every run in or below it is played
    policy: tuple[str, ...] = ("all",)  # baselines by name, "all" of them, folders, checkpoints
    config: ConfigName = "untagged"  # what to play; the other flags change it
    n_eval_episodes: int = 1000  # prompts
    checkpoint: Literal["best", "final"] | None = None  # of runs; None: the final one
    out: Out = RUNS  # where all runs are
    problem: ProblemFlags = _DEFAULT

    def run(self, config: str) -> None:
        study = standard.study(config, self.problem)
        runs = [] if self.models_dir is None else study.runs_below(self.models_dir)
        if not runs and not self.policy:
            raise ValueError("there is nothing to play: give --models-dir or --policy")
        evaluate.held_out_seeds(self.n_eval_episodes)
        known = baselines(self.problem, (0,))
        chosen = {key: x for key, x in known.items() if {key[0], "all"} & set(self.policy)}
        others = [x for x in self.policy if x not in {"all", *(name for name, _ in known)}]
        for run in [*runs, *others]:
            _check_tag(Path(run), self.problem)
        problem = with_table(self.problem, self.out, ("train", "test"))
        study = standard.study(config, problem)
        contestants = study.contestants([*runs, *others], self.checkpoint) | chosen
        study.report(self.out, config, problem, contestants, self.n_eval_episodes)


@dataclass(frozen=True)
class Compare:
    """Train what does not exist yet, answer the same held-out prompts with everything, write
    results.csv, table.md and regret.csv, draw the plots."""

    config: ConfigName = "untagged"  # what to train on and play; the other flags change it
    algorithms: tuple[AlgorithmName, ...] = tuple(ALGORITHMS)  # what to train
    seeds: Seeds = (0, 1, 2, 3, 4)  # of the trainings, and of the baselines that learn
    iterations: int = standard.ITERATIONS  # updates of every training
    n_eval_episodes: int = 1000  # prompts to play with each policy
    jobs: int = 1  # trainings side by side
    out: Out = RUNS  # where all runs are
    problem: ProblemFlags = _DEFAULT

    def run(self, config: str) -> None:
        if self.problem.split != "train":
            raise ValueError(
                f"split is {self.problem.split!r}; compare trains on 'train' and plays 'test'"
            )
        evaluate.held_out_seeds(self.n_eval_episodes)
        if not self.problem.table_path:
            raise ValueError("table_path is ''; regret and baselines that learn need a table")
        problem = with_table(self.problem, self.out, SPLITS)
        experiments = [
            standard.experiment(
                *(config, algorithm, seed, problem),
                iterations=self.iterations,
                episodes_per_update=standard.EPISODES_PER_UPDATE,
                eval_frequency=standard.EVAL_FREQUENCY,
            )
            for algorithm in self.algorithms
            for seed in self.seeds
        ]
        folders = jobs.train_all(experiments, self.out, self.jobs)
        tested_on = replace(problem, split="test")
        study = standard.study(config, problem)
        contestants = study.contestants(folders) | baselines(problem, self.seeds)
        folder = study.report(self.out, config, tested_on, contestants, self.n_eval_episodes)
        write_regrets(folder, folders, problem, self.seeds)
        for file in draw(study, folder, tested_on):
            print(f"plot: {file}")


@dataclass(frozen=True)
class Plot:
    """Draw learning curves, cumulative regret, reward by type of prompt, and the arms chosen."""

    config: ConfigName = "untagged"  # whose runs and results
    out: Out = RUNS  # where all runs are
    problem: ProblemFlags = _DEFAULT

    def run(self, config: str) -> None:
        problem = named_table(self.problem, self.out)
        study = standard.study(config, problem)
        folder = study.folder(self.out, config, problem)
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}: train or evaluate first")
        for file in draw(study, folder, problem):
            print(f"plot: {file}")


def main(argv: list[str] | None = None) -> int:
    """Carry out a command line; the exit status."""
    commands = ("train", "evaluate", "compare", "plot", "make-table")
    presets = dict.fromkeys(commands, ("untagged",))
    arguments = sys.argv[1:] if argv is None else argv
    return carry_out(_commands, presets, __doc__, arguments, flag_pairs=True)


def _commands(config: str) -> dict[str, Any]:
    problem = replace(CONFIGS.get(config, UNTAGGED), table_path=AUTO)
    tested_on = replace(problem, split="test")
    return {
        "train": Train(problem=problem),
        "evaluate": Evaluate(problem=tested_on),
        "compare": Compare(problem=problem),
        "plot": Plot(problem=tested_on),
        "make-table": MakeTable(problem=problem),
        "make-model": MakeModel(),
    }


def _check_tag(run: Path, problem: Config) -> None:
    """A policy that was told the type, or not, plays such prompts only."""
    if not (run / "experiment.json").exists():
        return
    tagged = read_experiment(run)["env_config"].get("tagged", problem.tagged)
    if tagged != problem.tagged:
        raise ValueError(
            f"{run} was trained with tagged={tagged}, and tagged is {problem.tagged}: play it with "
            f"--config {'tagged' if tagged else 'untagged'}"
        )


def _begun(run: Path) -> tuple[Experiment, Path]:
    """The experiment of a run's folder, and where all runs are."""
    experiment = Experiment(**read_experiment(run))
    return experiment, Path(run).resolve().parents[len(experiment.folder.parts) - 1]


if __name__ == "__main__":
    sys.exit(main())
