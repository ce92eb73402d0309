"""How much there is to learn by looking, as a command: what one who is told everything learns.

A bandit is told one arm's reward a pull. Here ridge regressions of the arms' rewards on a context
are told the rewards of all arms of all training prompts, without noise and at once; then they
choose for the test prompts. What they do not learn from a context, no linear bandit will learn from
it. Their ridge is the one by which they choose best for training prompts that they were not told
of, in five parts.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from marlserve.envs.kv_compression import Config, baselines, table
from marlserve.envs.kv_compression.problem import reward
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.reports import statistics
from marlserve.experiments.reports.statistics import Sample
from marlserve.experiments.studies.kv_compression.tables import with_table
from marlserve.experiments.studies.options import NONE, SourceFlags, asked
from marlserve.experiments.studies.study import Study

RIDGES = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
_PARTS = 5


@dataclass(frozen=True)
class Learnable:
    """What ridge regressions on several contexts earn that were told all of the training prompts'
    outcomes, beside the best fixed arm."""

    contexts: tuple[str, ...] = ("tag", "tag,length,diversity,repetition", "tag,attention")
    preset: str = ""  # whose prompts; the flags of the problem change them
    out: Path = RUNS  # where all runs are
    source: SourceFlags = NONE
    problem: Any = None

    def run(self, study: Study) -> None:
        wanted = asked(study.presets[self.preset], self)
        study.check(self.preset, wanted, "learnable")
        problem = with_table(replace(wanted, split="test"), self.out, ("train", "test"))
        print(f"| context | numbers | ridge | {problem.reward} | more than the best fixed arm |")
        print("| --- | ---: | ---: | ---: | ---: |")
        rewards = rewards_of(problem, "test")
        fixed = rewards[:, rewards_of(problem, "train").mean(0).argmax()]
        print(f"| best fixed arm | 0 | | {fixed.mean():.3f} | |")
        for names in self.contexts:
            seen = replace(problem, context=tuple(names.split(",")))
            chosen, ridge, size = choices(seen)
            got = rewards[np.arange(len(chosen)), chosen]
            more = statistics.difference(Sample(got[None], False), Sample(fixed[None], False))
            interval = f"{more.value:.3f} [{more.low:.3f}, {more.high:.3f}]"
            print(f"| {names} | {size} | {ridge:g} | {got.mean():.3f} | {interval} |")
        print(f"| oracle | | | {rewards.max(1).mean():.3f} | |")


def choices(problem: Config) -> tuple[np.ndarray, float, int]:
    """Arms for the test prompts [P], the ridge, and the features of the context."""
    seen, rewards = scaled_contexts(problem, "train"), rewards_of(problem, "train")
    part = np.random.default_rng(0).permutation(len(seen)) % _PARTS
    earned = dict.fromkeys(RIDGES, 0.0)
    for ridge in RIDGES:
        for number in range(_PARTS):
            left, told = part == number, part != number
            chosen = fitted(seen[told], rewards[told], ridge, seen[left])
            earned[ridge] += float(rewards[left][np.arange(left.sum()), chosen].sum())
    best = max(earned, key=lambda ridge: earned[ridge])
    return fitted(seen, rewards, best, scaled_contexts(problem, "test")), best, seen.shape[1]


def fitted(
    seen: np.ndarray, rewards: np.ndarray, ridge: float, asked_for: np.ndarray
) -> np.ndarray:
    """The arms of the highest expected rewards for contexts, after these [n, F] with [n, K]."""
    level = rewards.mean(0)
    penalty = ridge * np.eye(seen.shape[1])
    # What all arms gain alike says nothing about which is best.
    wanted = rewards - level - (rewards - level).mean(1, keepdims=True)
    weights = np.linalg.solve(seen.T @ seen + penalty, seen.T @ wanted)
    return (asked_for @ weights + level).argmax(1)


def rewards_of(problem: Config, split: str) -> np.ndarray:
    """Of all prompts and arms, [P, K]."""
    own = replace(problem, split=split)
    return reward(own, table.Table(own).all_outcomes())


def scaled_contexts(problem: Config, split: str) -> np.ndarray:
    """Of all prompts, [P, F], as the bandits see them."""
    own = replace(problem, split=split)
    seen = baselines.contexts_of(table.Table(own), own)
    return baselines.standardises(problem)(seen).astype(float)
