"""The baselines of KV compression as contestants, and the regret of those that learn."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from marlserve.envs.kv_compression import Config, Problem
from marlserve.envs.kv_compression.baselines import (
    BANDITS,
    BASELINES,
    ROUNDS,
    constant,
    decides,
    learns,
    trained,
    training_rewards,
)
from marlserve.experiments.harness.contestant import Contestant
from marlserve.experiments.reports import regret


def baselines(problem: Config, seeds: Sequence[int]) -> list[Contestant]:
    """A constant for each of the problem's arms, and the other baselines; those that learn, once
    for each seed. Without a table, none that needs the training prompts' outcomes."""
    found = [Contestant(x, decides(partial(constant, arm=x)), problem) for x in problem.arms]
    rules = ("random", "oracle", "best_fixed", "best_per_type")
    for name in rules if problem.table_path else rules[:2]:
        rule = BASELINES[name]
        found.append(Contestant(name, rule.policy, problem, oracle=rule.oracle))
    if problem.table_path:
        found += [
            Contestant(name, learns(name, seed), problem, training_seed=seed)
            for name in BANDITS
            for seed in seeds
        ]
    return found


def write_regrets(
    folder: Path, runs: Sequence[Path], problem: Config, seeds: Sequence[int]
) -> None:
    """Put the regret of runs, of linear bandits and of random arms into regret.csv; print the
    table of what it comes to, and write it to regret.md.

    Args:
        folder: of the config's results.
        runs: that were trained on the problem.
        problem: with a table.
        seeds: of the linear bandits and of the random arms.
    """
    curves, copy = regret.of_runs(runs), Problem(problem)
    for seed in seeds:
        curves["random", seed] = regret.curve(_random(copy, seed))
        for name in BANDITS:
            curves[name, seed] = regret.curve(trained(name, copy, seed=seed)[1])
    rows = regret.merge(folder / "regret.csv", curves)
    text = regret.show(rows, folder.name, reference="linucb")
    (folder / "regret.md").write_text(text)


def _random(problem: Problem, seed: int) -> np.ndarray:
    """Regret of random arms for random training prompts, [ROUNDS]."""
    rewards, generator = training_rewards(problem), np.random.default_rng(seed)
    prompts = generator.integers(len(rewards), size=ROUNDS)
    arms = generator.integers(rewards.shape[1], size=ROUNDS)
    return rewards[prompts].max(1) - rewards[prompts, arms]
