"""Does an operator of KV-cache compression that learned earn more than the best rules?

    python experiments/kv_cache.py train --config synthetic --algorithms ppo dqn
    python experiments/kv_cache.py evaluate --models-dir runs/kv_cache/synthetic
    python experiments/kv_cache.py compare --config synthetic --seeds 0 1 2 --jobs 2
    python experiments/kv_cache.py plot --config synthetic --policies load_aware ppo oracle

Every field of the problem is a flag, with the config's value for a default: --num-servers,
--episode-hours, --start-time, --reward source and so on. What is trained under changed fields or
settings has a folder of its own, named after the changes. Everything is in
runs/kv_cache/<config>/: <algorithm>/seed_<n>/ for every run, results.csv, table.md and plots/.

The config synthetic needs no files. For realistic (days of a week of 2024) and code_2023 (minutes
of an hour), either MARLSERVE_DATA names a folder with the recorded files, or --invocations-path,
--price-path and --profile-path do.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from marlserve.envs.kv_cache import BASELINES, SYNTHETIC, Config
from marlserve.experiments.harness import evaluate, jobs
from marlserve.experiments.harness.command_line import carry_out, flags, read_settings
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.reports.summary import write_summary
from marlserve.experiments.studies.kv_cache import settings as kv_cache_settings
from marlserve.experiments.studies.kv_cache.plots import draw
from marlserve.experiments.studies.kv_cache.settings import ALGORITHMS, CONFIGS, study
from marlserve.experiments.studies.study import changes

ConfigName = Annotated[Literal[tuple(CONFIGS)], tyro.conf.arg(aliases=["--preset"])]
AlgorithmName = Literal[tuple(ALGORITHMS)]
Seeds = Annotated[tuple[int, ...], tyro.conf.arg(aliases=["--seed"])]
ProblemFlags = Annotated[Config, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class Train:
    """Train policies, or go on where they were stopped: with Ctrl-C, they leave checkpoints.

    Every run also keeps its best policy by greedy episodes on the way, which are apart from both
    the training and the held-out ones, and in the end writes summary.md.
    """

    config: ConfigName = "synthetic"  # what to train on; the other flags change it
    algorithms: tuple[AlgorithmName, ...] = tuple(ALGORITHMS)  # what to train, in turn
    seeds: Seeds = (0,)  # of networks, exploration and traffic: a run for each
    env_steps: int | None = None  # for how long, over all copies; None: the config's own
    lr: float | None = None  # learning rate; None: the algorithm's own
    settings: tuple[str, ...] = ()  # of the algorithms: name=value, as gamma=0.9
    evaluate_every: int | None = None  # env-steps between two evaluations; 0: never
    num_env_runners: int = 0  # further processes that sample; 0 is fastest on few cores
    checkpoint_every_s: float = 60.0  # between two checkpoints
    overwrite: bool = False  # begin anew, even if there is a finished run
    jobs: int = 1  # trainings side by side
    out: Path = RUNS  # where all runs are
    problem: ProblemFlags = SYNTHETIC

    def run(self, config: str) -> None:
        settings = {} if self.lr is None else {"lr": self.lr}
        experiments = [
            kv_cache_settings.experiment(
                config,
                algorithm,
                seed,
                self.problem,
                self.evaluate_every,
                env_steps=self.env_steps,
                settings=settings | read_settings(self.settings),
                env_runners={"num_env_runners": n} if (n := self.num_env_runners) else {},
            )
            for algorithm in self.algorithms
            for seed in self.seeds
        ]
        jobs.train_all(
            experiments,
            self.out,
            self.jobs,
            overwrite=self.overwrite,
            checkpoint_every_s=self.checkpoint_every_s,
            finished=lambda folder: _sum_up(folder, config, self.problem, self.out),
        )


@dataclass(frozen=True)
class Evaluate:
    """Play held-out episodes with trained policies and heuristics, add them to results.csv and
    table.md, and print the table.

    Learned policies keep their own way of acting (discrete or continuous, with denial or without);
    the other flags say what they meet.
    """

    models_dir: Path | None = None  # every run in or below it is played
    policy: tuple[str, ...] = ("all",)  # heuristics by name, "all" of them, folders, checkpoints
    config: ConfigName = "synthetic"  # what to play; the other flags change it
    n_eval_episodes: int = 10  # to play with each policy
    checkpoint: Literal["best", "final"] | None = None  # of runs; None: the best, if there is one
    out: Path = RUNS  # where all runs are
    problem: ProblemFlags = SYNTHETIC

    def run(self, config: str) -> None:
        kv_cache_settings.check_files(config, self.problem)
        names: list[str | Path] = []
        for name in self.policy:
            names += BASELINES if name == "all" else [name]
        if self.models_dir is not None:
            names = [*study().runs_below(self.models_dir), *names]
        if not names:
            raise ValueError("there is nothing to play: give --models-dir or --policy")
        evaluate.held_out_seeds(self.n_eval_episodes)
        contestants = study().contestants(names, self.checkpoint)
        study().report(self.out, config, self.problem, contestants, self.n_eval_episodes)


@dataclass(frozen=True)
class Compare:
    """Train what does not exist yet, play all policies and heuristics on the same held-out
    episodes, write results.csv and table.md, draw the plots.

    The problem's flags change both what is trained on and what is played.
    """

    config: ConfigName = "synthetic"  # what to train on and play
    algorithms: tuple[AlgorithmName, ...] = tuple(ALGORITHMS)  # what to train
    seeds: Seeds = (0, 1, 2)  # of the trainings
    n_eval_episodes: int = 30  # to play with each policy
    env_steps: int | None = None  # of every training; None: the config's own
    evaluate_every: int | None = None  # env-steps between two evaluations; 0: never
    jobs: int = 1  # trainings side by side
    out: Path = RUNS  # where all runs are
    problem: ProblemFlags = SYNTHETIC

    def run(self, config: str) -> None:
        if (self.problem.split, self.problem.start_time) != ("train", ""):
            raise ValueError(
                f"split is {self.problem.split!r} and start_time is {self.problem.start_time!r}; "
                "compare trains on 'train' and plays 'test', so that they share no time: leave "
                "both as they are, or train and evaluate one after the other"
            )
        evaluate.held_out_seeds(self.n_eval_episodes)  # a bad number is an error before training
        given = (self.problem, self.evaluate_every)
        experiments = [
            kv_cache_settings.experiment(config, name, seed, *given, env_steps=self.env_steps)
            for name in self.algorithms
            for seed in self.seeds
        ]
        folders = jobs.train_all(
            experiments,
            self.out,
            self.jobs,
            finished=lambda folder: _sum_up(folder, config, self.problem, self.out),
        )
        tested_on = replace(self.problem, split="test")
        contestants = study().contestants([*folders, *BASELINES])
        folder = study().report(self.out, config, tested_on, contestants, self.n_eval_episodes)
        for file in draw(study(), folder, tested_on, ()):
            print(f"plot: {file}")


@dataclass(frozen=True)
class Plot:
    """Draw learning curves, a comparison, cost against quality, and the actions of an episode.

    The problem's flags name the folder, as when it was trained or evaluated.
    """

    config: ConfigName = "synthetic"  # whose runs and results
    policies: tuple[str, ...] = ()  # of the timeline; none: the best learned, load_aware, oracle
    out: Path = RUNS  # where all runs are
    problem: ProblemFlags = SYNTHETIC

    def run(self, config: str) -> None:
        kv_cache_settings.check_files(config, self.problem)
        folder = study().folder(self.out, config, self.problem)
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}: train or evaluate first")
        for file in draw(study(), folder, self.problem, self.policies):
            print(f"plot: {file}")


def main(argv: list[str] | None = None) -> int:
    """Carry out a command line; the exit status."""
    standard = dict.fromkeys(("train", "evaluate", "compare", "plot"), ("synthetic",))
    arguments = sys.argv[1:] if argv is None else argv
    return carry_out(_commands, standard, __doc__, arguments, flag_pairs=True)


def _commands(config: str) -> dict[str, Any]:
    problem = kv_cache_settings.configs().get(config, SYNTHETIC)
    tested_on = replace(problem, split="test")
    return {
        "train": Train(problem=problem),
        "evaluate": Evaluate(problem=tested_on),
        "compare": Compare(problem=problem),
        "plot": Plot(problem=tested_on),
    }


def _sum_up(folder: Path, config: str, problem: Config, out: Path) -> None:
    """Write a run's summary, unless there is one."""
    if (folder / "summary.md").exists():
        return
    changed = changes(kv_cache_settings.configs()[config], problem)
    where = [] if out == RUNS else ["--out", str(out)]
    command = ["python", "experiments/kv_cache.py", "evaluate", "--models-dir", str(folder)]
    file = write_summary(folder, [*command, "--config", config, *flags(changed), *where])
    print(f"summary: {file}")


if __name__ == "__main__":
    sys.exit(main())
