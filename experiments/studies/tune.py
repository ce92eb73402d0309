"""Rules with the best numbers: as hard a search for them as for what learns.

A problem's own `Tune` says which rules there are, and what is aimed at. The same trials serve all
aims.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from marlserve.envs.base import Policy
from marlserve.experiments.harness.contestant import Contestant
from marlserve.experiments.harness.evaluate import held_out_seeds, play_all
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.harness.locks import taking_turns
from marlserve.experiments.harness.results import check_fits
from marlserve.experiments.harness.run import write
from marlserve.experiments.studies.evaluate import report
from marlserve.experiments.studies.options import NONE, SourceFlags, asked
from marlserve.experiments.studies.study import Study

Numbers = Mapping[str, float]
Aim = Callable[[pd.DataFrame, Any], float]  # rows of a trial, Config -> what is to be small


@dataclass(frozen=True)
class Rule:
    """A formula with numbers, and what plays it."""

    formula: Callable[..., Any]  # its numbers are arguments with defaults
    ranges: Mapping[str, tuple[float, float]]  # least and most; those above 0 by factors
    # formula -> Problem -> policy; what makes a policy of a Problem is played as it is
    played: Callable[[Callable[..., Any]], Callable[[Any], Policy]] = lambda formula: formula
    configure: Callable[[Any], Any] = lambda config: config  # Config -> Config it plays under

    @property
    def defaults(self) -> dict[str, float]:
        known = signature(self.formula).parameters
        return {number: float(known[number].default) for number in self.ranges}

    def policy(self, numbers: Numbers) -> Callable[[Any], Policy]:
        """What plays the formula with these numbers."""
        return self.played(partial(self.formula, **numbers))


@dataclass(frozen=True)
class Tune:
    """Search the numbers of rules on training traffic, and play the best on held-out episodes.

    Adds to results.csv and table.md, and writes all trials to trials.csv.
    """

    AIMS: ClassVar[Mapping[str, Aim]] = {}

    preset: str = ""
    trials: int = 16  # for each rule, its defaults among them
    training_episodes: int = 16  # for each trial
    episodes: int = 50  # to play with the best
    only: tuple[str, ...] = ()  # of the rules, by name; none named: all
    out: Path = RUNS  # where all runs are
    source: SourceFlags = NONE
    problem: Any = None

    def aims(self, config: Any) -> Mapping[str, Aim]:
        """What is aimed at under a Config, by name."""
        return self.AIMS

    def rules(self, config: Any) -> Mapping[str, Rule]:
        """What is searched for a Config, by name."""
        raise NotImplementedError

    def run(self, study: Study) -> None:
        held_out_seeds(self.episodes)
        for name in ("trials", "training_episodes"):
            if (count := getattr(self, name)) < 1:
                raise ValueError(f"{name} is {count}; it must be at least 1")
        training = replace(asked(study.presets[self.preset], self), split="train")
        study.check(self.preset, training, "tune")
        variants = study.variants(self.preset, replace(training, split="test"))
        folders = [study.folder(self.out, self.preset, tested) for tested in variants]
        for folder, tested in zip(folders, variants, strict=True):
            check_fits(folder / "results.csv", study.problem, study.told(tested))
        found = self.searched(study, training)
        for folder, tested in zip(folders, variants, strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            with taking_turns(folder):
                write(folder / "trials.csv", found.to_csv(index=False))
            best = self.best(found, tested)
            report(study, self.out, self.preset, tested, best, self.episodes)

    def searched(self, study: Study, config: Any) -> pd.DataFrame:
        """One row per rule and trial: rule, its numbers, and what AIMS make of them."""
        rules = self.rules(config)
        if unknown := {*self.only} - {*rules}:
            raise ValueError(f"only has {sorted(unknown)}; there are {[*rules]}")
        asked_for = [
            (name, rule, numbers)
            for name, rule in rules.items()
            if not self.only or name in self.only
            for numbers in [rule.defaults, *drawn(rule.ranges, self.trials - 1)]
        ]
        contestants = [
            Contestant(
                f"{name}, trial {i % self.trials}", rule.policy(numbers), rule.configure(config)
            )
            for i, (name, rule, numbers) in enumerate(asked_for)
        ]
        rows = play_all(contestants, study.problem, self.training_episodes, study.copies(config))
        found, aims = [], self.aims(config)
        for contestant, (name, _, numbers) in zip(contestants, asked_for, strict=True):
            of_trial = rows[rows["policy"] == contestant.name]
            scores = {aim: score(of_trial, config) for aim, score in aims.items()}
            found.append({"rule": name, **numbers, **scores})
        return pd.DataFrame(found)

    def best(self, found: pd.DataFrame, config: Any) -> list[Contestant]:
        """Of each rule the best of its trials for each of AIMS; one may be it for several."""
        rules, contestants = self.rules(config), []
        for name, trials in found.groupby("rule", sort=False):
            rule, aimed = rules[str(name)], dict[int, list[str]]()
            for aim in self.aims(config):
                aimed.setdefault(int(trials[aim].idxmin()), []).append(aim)
            for index, aims in aimed.items():
                numbers = trials.loc[index, list(rule.ranges)].astype(float).to_dict()
                label = f"{name}, best of {len(trials)} for {' and '.join(aims)}"
                contestants.append(Contestant(label, rule.policy(numbers), rule.configure(config)))
        return contestants


def drawn(ranges: Mapping[str, tuple[float, float]], count: int) -> Sequence[dict[str, float]]:
    """So many points that are spread evenly over the ranges: a scrambled Halton sequence."""
    from scipy.stats import qmc  # which takes a second, and few ask for

    points = qmc.Halton(len(ranges), rng=0).random(count)  # [count, numbers]
    return [
        {
            name: float(low + x * (high - low) if low == 0 else low * (high / low) ** x)
            for x, (name, (low, high)) in zip(point, ranges.items(), strict=True)
        }
        for point in np.asarray(points)
    ]
