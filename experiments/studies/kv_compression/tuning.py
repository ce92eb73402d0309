"""The numbers of the linear bandits: taught by the training prompts, judged by the validation ones.

Prompts of the test have no part in it. The same numbers serve all presets that are named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.progress import track

from marlserve.envs.kv_compression import Config, Problem, baselines
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.studies.kv_compression.learnable import rewards_of, scaled_contexts
from marlserve.experiments.studies.kv_compression.tables import with_table
from marlserve.experiments.studies.options import NONE, SourceFlags, asked
from marlserve.experiments.studies.study import Study
from marlserve.experiments.studies.tune import drawn

RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "linucb": {"alpha": (0.03, 3.0), "ridge": (0.3, 300.0)},
    "thompson": {"scale": (0.03, 3.0), "ridge": (0.3, 300.0)},
    "epsilon_greedy": {"random_choices": (10.0, 1000.0), "ridge": (0.3, 300.0)},
}
SEEDS = (100, 101, 102)  # not among those of compare


@dataclass(frozen=True)
class Tune:
    """Search the numbers of the linear bandits for what earns most on the validation prompts, in
    the mean over the presets; the shipped numbers are among the trials."""

    presets: tuple[str, ...] = ()  # that are to share the numbers
    trials: int = 16  # for each bandit
    show: int = 3  # of the trials, the best first
    out: Path = RUNS  # where all runs are
    source: SourceFlags = NONE
    problem: Any = None

    def run(self, study: Study) -> None:
        if self.trials < 1:
            raise ValueError(f"trials is {self.trials}; it must be at least 1")
        problems = []
        for preset in self.presets:
            wanted = asked(study.presets[preset], self)
            study.check(preset, wanted, "tune")
            found = with_table(wanted, self.out, ("train", "validation"))
            if not found.table_path:
                raise ValueError("table_path is ''; what bandits learn is known from a table only")
            problems.append(judged(found))
        for bandit, ranges in RANGES.items():
            shipped = baselines.tuned(problems[0].problem.config)[bandit]
            trials = [shipped, *drawn(ranges, self.trials - 1)]
            rows: list[dict[str, Any]] = [
                {**numbers, "earned": earned(bandit, numbers, problems)}
                for numbers in track(trials, bandit, transient=True)
            ]
            rows[0]["as shipped"] = "*"
            best = pd.DataFrame(rows).sort_values("earned", ascending=False, kind="stable")
            shown = best[best["as shipped"].notna() | (np.arange(len(best)) < self.show)]
            print(shown.to_string(index=False, float_format="{:.4g}".format, na_rep=""))


class Judged(NamedTuple):
    """A problem, and its validation prompts."""

    problem: Problem
    contexts: np.ndarray  # [P, F]
    rewards: np.ndarray  # of all arms, [P, K]


def judged(config: Config) -> Judged:
    """What bandits that learn on a problem are judged by."""
    read = scaled_contexts(config, "validation"), rewards_of(config, "validation")
    return Judged(Problem(config), *read)


def earned(bandit: str, numbers: Mapping[str, float], problems: Sequence[Judged]) -> float:
    """The mean reward of the validation prompts, each once, over problems and `SEEDS`."""
    means = []
    for problem, contexts, rewards in problems:
        for seed in SEEDS:
            learner = baselines.trained(bandit, problem, seed=seed, numbers=numbers)[0]
            chosen = learner.greedy(contexts)
            means.append(rewards[np.arange(len(chosen)), chosen].mean())
    return float(np.mean(means))
