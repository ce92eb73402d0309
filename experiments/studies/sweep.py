"""The command `sweep`: what is searched for, and what to do with the best."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marlserve.experiments.harness.command_line import read_settings
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.harness.flags import words
from marlserve.experiments.studies.options import NONE, SourceFlags, asked
from marlserve.experiments.studies.study import Study
from marlserve.experiments.studies.sweep_plan import Sweep
from marlserve.experiments.studies.sweep_search import best_settings, search


@dataclass(frozen=True)
class SweepCommand:
    """Search for the learning rate and the width of the networks, with trials of Ray Tune.

    Most trials are stopped early, those that are behind in the metric that ranks, of greedy
    episodes on the training's own traffic. Ctrl-C leaves what is there, and the same command goes
    on.
    """

    preset: str = ""  # what to train on; the flags of the problem change it
    algorithm: str = ""  # what to train
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
    source: SourceFlags = NONE
    problem: Any = None

    def run(self, study: Study) -> None:
        settings = read_settings(self.settings)
        if searched := {"lr", "hidden_size", "hidden_sizes"} & set(settings):
            raise ValueError(f"settings has {sorted(searched)}, which the sweep looks for")
        problem = asked(study.presets[self.preset], self)
        study.check(self.preset, problem, "sweep")
        experiment = study.experiment(
            self.preset,
            self.algorithm,
            self.seed,
            problem=study.prepared(study.tuned_on(problem), self.out, ("train", "validation")),
            env_steps=self.env_steps,
            settings=settings,
            evaluation={"evaluation_episodes": self.evaluation_episodes},
        )
        plan = Sweep(
            experiment,
            study.ranks_by(problem),
            self.lr,
            self.hidden_sizes,
            self.samples,
            study.larger_ranks(problem),
        )
        folder, trials = search(plan, self.out, self.jobs, overwrite=self.overwrite)
        best = [f"{k}={json.dumps(v)}" for k, v in (settings | best_settings(plan, trials)).items()]
        command = ["python", f"experiments/{study.problem}.py", "train", "--preset", self.preset]
        command += ["--algorithms", self.algorithm, "--settings", *best]
        command += words(study.changed(study.presets[self.preset], problem))
        print(f"all trials: {folder / 'trials.csv'}, {folder / 'plots' / 'sweep.png'}")
        print(f"train with the best settings:\n{shlex.join(command)}")
