"""Rules with the best numbers: as hard a search for them as for what learns.

The same trials serve all that is asked for: the mean time to the last token ("e2e"), to the first
("ttft"), and the two weighted as the reward weighs them ("cost").
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import qmc

from marlserve.envs.replica_routing import Config, Problem, rules
from marlserve.envs.replica_routing.baselines import adaptive, ruled
from marlserve.experiments.harness.contestant import Contestant
from marlserve.experiments.harness.evaluate import held_out_seeds, play_all
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.harness.locks import taking_turns
from marlserve.experiments.harness.run import write
from marlserve.experiments.studies.evaluate import report
from marlserve.experiments.studies.options import NONE, SourceFlags, asked
from marlserve.experiments.studies.study import Study

Numbers = dict[str, float]
# Of each rule its numbers, with the least and the most; those above 0 are searched by factors.
RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "prefix_affinity": {"least_share": (0.0, 1.0), "imbalance": (0.5, 32.0)},
    "cache_aware": {"share": (0.0, 1.0), "absolute": (1.0, 64.0), "relative": (1.05, 4.0)},
    "scorers": {"prefix": (0.1, 10.0), "queue": (0.1, 10.0), "cache": (0.1, 10.0)},
    "size_split": {"long_tokens": (1_000.0, 100_000.0)},
    "kv_cost": {"prefill_weight": (0.1, 30.0), "speed_power": (0.5, 3.0)},
    "marginal_cost": {
        "companions": (0.1, 10.0),
        "output_tokens": (50.0, 2_000.0),
        "speed_power": (0.5, 3.0),
    },
}
METRICS: dict[str, Callable[[pd.DataFrame, Config], float]] = {
    "e2e": lambda rows, config: rows["mean_e2e_s"].mean(),
    "ttft": lambda rows, config: rows["mean_ttft_s"].mean(),
    "cost": lambda rows, config: (
        config.e2e_weight * rows["mean_e2e_s"].mean()
        + config.ttft_weight * rows["mean_ttft_s"].mean()
    ),
}


@dataclass(frozen=True)
class Tune:
    """Search the numbers of rules on training traffic, and play the best on held-out episodes.

    Adds to results.csv and table.md, and writes all trials to trials.csv. Where gateways are not
    told the replicas' speeds, the rules estimate them.
    """

    preset: str = ""
    trials: int = 16  # for each rule, its defaults among them
    training_episodes: int = 16  # for each trial
    episodes: int = 50  # to play with the best
    out: Path = RUNS  # where all runs are
    source: SourceFlags = NONE
    problem: Any = None

    def run(self, study: Study) -> None:
        held_out_seeds(self.episodes)
        for name in ("trials", "training_episodes"):
            if (count := getattr(self, name)) < 1:
                raise ValueError(f"{name} is {count}; it must be at least 1")
        training = replace(asked(study.presets[self.preset], self), split="train")
        tested = replace(training, split="test")
        found = searched(training, self.trials, self.training_episodes)
        folder = study.folder(self.out, self.preset, tested)
        folder.mkdir(parents=True, exist_ok=True)
        with taking_turns(folder):
            write(folder / "trials.csv", found.to_csv(index=False))
        report(study, self.out, self.preset, tested, best(found, tested), self.episodes)


def searched(config: Config, trials: int, episodes: int) -> pd.DataFrame:
    """One row per rule and trial: rule, its numbers, and what METRICS make of them."""
    asked_for: list[tuple[str, Numbers]] = [
        (rule, numbers)
        for rule, ranges in RANGES.items()
        for numbers in [{}, *drawn(ranges, trials - 1)]
    ]
    contestants = [
        Contestant(f"{rule}, trial {i % trials}", policy(config, rule, numbers), config)
        for i, (rule, numbers) in enumerate(asked_for)
    ]
    rows = play_all(contestants, Problem.name, episodes)
    found = []
    for contestant, (rule, numbers) in zip(contestants, asked_for, strict=True):
        of_trial = rows[rows["policy"] == contestant.name]
        scores = {name: score(of_trial, config) for name, score in METRICS.items()}
        found.append({"rule": rule, **numbers, **scores})
    return pd.DataFrame(found)


def best(found: pd.DataFrame, config: Config) -> list[Contestant]:
    """Of each rule the best of its trials, for each of METRICS."""
    contestants = []
    for rule, trials in found.groupby("rule", sort=False):
        good_for: dict[int, list[str]] = {}
        for name in METRICS:
            good_for.setdefault(trials[name].idxmin(), []).append(name)
        for trial, names in good_for.items():
            numbers = trials.loc[trial, list(RANGES[rule])].dropna().astype(float).to_dict()
            name = f"{rule}, tuned for {' and '.join(names)}"
            contestants.append(Contestant(name, policy(config, rule, numbers), config))
    return contestants


def policy(config: Config, rule: str, numbers: Numbers) -> Callable[[Any], Any]:
    """What plays a rule with these numbers; the others are its defaults."""
    formula = partial(getattr(rules, rule), **numbers)
    return partial(ruled, formula if config.told_speeds else adaptive(formula))


def drawn(ranges: dict[str, tuple[float, float]], count: int) -> list[Numbers]:
    """So many points that are spread evenly over the ranges: a scrambled Halton sequence."""
    points = qmc.Halton(len(ranges), rng=0).random(count)  # [count, numbers]
    return [
        {
            name: float(low + x * (high - low) if low == 0 else low * (high / low) ** x)
            for x, (name, (low, high)) in zip(point, ranges.items(), strict=True)
        }
        for point in np.asarray(points)
    ]
