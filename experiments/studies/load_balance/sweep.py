"""The command `sweep` of the load balancers: what is searched for, and what to do with the best."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from marlserve.envs.load_balance import MODERATE, PRESETS, Config
from marlserve.experiments.harness.command_line import flags, read_settings
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.studies.load_balance.settings import ALGORITHMS, study
from marlserve.experiments.studies.study import changes
from marlserve.experiments.studies.sweep import Sweep, best_settings, search


@dataclass(frozen=True)
class SweepCommand:
    """Search for the learning rate and the width of the networks, with trials of Ray Tune.

    Most trials are stopped early, those that are behind in the latency of greedy episodes on the
    training's own traffic. Ctrl-C leaves what is there, and the same command goes on.
    """

    preset: Literal[tuple(PRESETS)] = "moderate"  # what to train on; the other flags change it
    algorithm: Annotated[Literal[tuple(ALGORITHMS)], tyro.conf.arg(aliases=["--agent-type"])] = (
        "qmix"  # what to train
    )
    lr: tuple[float, float] = (1e-4, 1e-2)  # bounds of the learning rate
    hidden_sizes: tuple[int, ...] = (32, 64, 128)  # widths to choose from
    samples: int = 12  # trials
    env_steps: int = 100_000  # of a trial that is not stopped early
    evaluation_episodes: int = 16  # greedy ones, nine times in a trial
    seed: int = 100  # of draws, networks and traffic; not among those of compare
    settings: tuple[str, ...] = ()  # further ones of the algorithm: name=value
    jobs: int = 1  # trials side by side
    overwrite: bool = False  # begin anew, whatever is there
    out: Path = RUNS  # where all runs are
    problem: Annotated[Config, tyro.conf.arg(name="")] = MODERATE

    def run(self, preset: str) -> None:
        settings = read_settings(self.settings)
        if searched := {"lr", "hidden_size", "hidden_sizes"} & set(settings):
            raise ValueError(f"settings has {sorted(searched)}, which the sweep looks for")
        experiment = study(self.env_steps).experiment(
            preset,
            self.algorithm,
            self.seed,
            problem=self.problem,
            settings=settings,
            evaluation={"evaluation_episodes": self.evaluation_episodes},
        )
        asked = Sweep(
            experiment,
            study().ranks_by(self.problem),
            self.lr,
            self.hidden_sizes,
            self.samples,
            study().larger_is_better,
        )
        folder, trials = search(asked, self.out, self.jobs, overwrite=self.overwrite)
        best = best_settings(asked, trials)
        words = [f"{name}={json.dumps(value)}" for name, value in (settings | best).items()]
        command = ["python", "experiments/load_balance.py", "train", "--preset", preset]
        command += ["--algorithm", self.algorithm, "--settings", *words]
        print(f"all trials: {folder / 'trials.csv'}, {folder / 'plots' / 'sweep.png'}")
        command += flags(changes(PRESETS[preset], self.problem))
        print(f"train with the best settings:\n{shlex.join(command)}")
