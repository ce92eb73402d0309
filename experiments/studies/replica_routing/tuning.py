"""Rules with the best numbers: as hard a search for them as for what learns.

The same trials serve all aims: the mean time to the last token ("e2e"), to the first ("ttft"), and
the two weighted as the reward weighs them ("cost").
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
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
ADAPTIVE = ("kv_cost", "marginal_cost")  # searched also with speeds that they estimate
AIMS: dict[str, Callable[[pd.DataFrame, Config], float]] = {
    "e2e": lambda rows, config: _mean_s(rows, "e2e", config),
    "ttft": lambda rows, config: _mean_s(rows, "ttft", config),
    "cost": lambda rows, config: (
        config.e2e_weight * _mean_s(rows, "e2e", config)
        + config.ttft_weight * _mean_s(rows, "ttft", config)
    ),
}


@dataclass(frozen=True)
class Tune:
    """Search the numbers of rules on training traffic, and play the best on held-out episodes.

    Adds to results.csv and table.md, and writes all trials to trials.csv. Where gateways are not
    told the replicas' speeds, the rules that have them are searched with estimated ones, too.
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
    """One row per rule and trial: rule, its numbers, and what AIMS make of them."""
    names = [*RANGES, *(f"adaptive_{name}" for name in ADAPTIVE if not config.told_speeds)]
    asked_for = [
        (name, numbers)
        for name in names
        for numbers in [_defaults(name), *drawn(_ranges(name), trials - 1)]
    ]
    contestants = [
        Contestant(f"{name}, trial {i % trials}", policy(name, numbers), config)
        for i, (name, numbers) in enumerate(asked_for)
    ]
    rows = play_all(contestants, Problem.name, episodes)
    found = []
    for contestant, (name, numbers) in zip(contestants, asked_for, strict=True):
        of_trial = rows[rows["policy"] == contestant.name]
        scores = {aim: score(of_trial, config) for aim, score in AIMS.items()}
        found.append({"rule": name, **numbers, **scores})
    return pd.DataFrame(found)


def best(found: pd.DataFrame, config: Config) -> list[Contestant]:
    """Of each rule the best of its trials, for each of AIMS."""
    contestants = []
    for name, trials in found.groupby("rule", sort=False):
        for aim in AIMS:
            row = trials.loc[trials[aim].idxmin(), list(_ranges(name))]
            numbers = row.astype(float).to_dict()
            label = f"{name}, best of {len(trials)} for {aim}"
            contestants.append(Contestant(label, policy(name, numbers), config))
    return contestants


def policy(name: str, numbers: Numbers) -> Callable[[Any], Any]:
    """What plays a rule with these numbers."""
    formula = partial(_rule(name), **numbers)
    return partial(ruled, adaptive(formula) if name.startswith("adaptive_") else formula)


def _rule(name: str) -> rules.Rule:
    return getattr(rules, name.removeprefix("adaptive_"))


def _ranges(name: str) -> dict[str, tuple[float, float]]:
    return RANGES[name.removeprefix("adaptive_")]


def _defaults(name: str) -> Numbers:
    known = signature(_rule(name)).parameters
    return {number: float(known[number].default) for number in _ranges(name)}


def _mean_s(rows: pd.DataFrame, name: str, config: Config) -> float:
    """The mean over requests, of which a failed one counts as `failure_s`, over episodes."""
    total_s = rows[f"mean_{name}_s"] * rows["completed"] + config.failure_s * rows["failed"]
    return float((total_s / (rows["completed"] + rows["failed"]).clip(lower=1.0)).mean())


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
