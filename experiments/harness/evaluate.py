"""Play episodes with a policy, and keep what happened: one row per episode, metrics as columns.

All policies meet the same held-out episodes: split="test" of the traffic, and seeds from 2**31 on,
where training, which draws its seeds below, never comes. A learned policy plays greedily.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from marlserve import envs
from marlserve.envs.base import Baseline, Policy, Problem
from marlserve.experiments.harness.run import read_experiment

FIRST_TEST_SEED = 2**31


def held_out_seeds(episodes: int) -> list[int]:
    """The seeds of the first test episodes.

    Raises:
        ValueError: for less than one.
    """
    if episodes < 1:
        raise ValueError(f"episodes is {episodes}; it must be at least 1")
    return [FIRST_TEST_SEED + i for i in range(episodes)]


def play(problem: Problem, policy: Policy, seeds: Sequence[int]) -> pd.DataFrame:
    """One episode in each of the B copies of a problem.

    Args:
        problem: B copies.
        policy: new, or reset. If the problem has action masks, it gets them as {agent: [B, ...]}
            in a second argument.
        seeds: B of them.

    Returns:
        B rows: episode_seed, return (the sum over steps of the mean reward of the agents), window
        (see `Problem.windows`) if the problem has them, and all metrics.

    Raises:
        ValueError: if there are not as many seeds as copies.
    """
    observations = problem.reset(seeds)
    rows: list[dict[str, float] | None] = [None] * problem.num_envs
    returns = np.zeros(problem.num_envs)
    while None in rows:
        masks = problem.action_masks()
        by_agent = [_by_agent(problem, x) for x in (observations, masks) if x is not None]
        actions = policy(*by_agent)
        joint = np.stack([actions[agent] for agent in problem.agents], axis=1)
        observations, rewards, terminated, truncated = problem.step(joint)
        returns += rewards.mean(axis=1, dtype=float)
        ended = np.flatnonzero(terminated | truncated)
        if len(ended):
            metrics, windows = problem.metrics(), problem.windows()
            for copy in ended:
                if rows[copy] is None:
                    rows[copy] = {"episode_seed": seeds[copy], "return": returns[copy]}
                    if windows is not None:
                        rows[copy]["window"] = float(windows[copy])
                    rows[copy] |= {name: float(values[copy]) for name, values in metrics.items()}
            if None in rows:  # the others go on; nobody looks at these any more
                observations = problem.reset(copies=ended)
    return pd.DataFrame(rows)


def evaluate(
    name: str,
    contestant: Baseline,
    problem: str,
    config: Any,
    episodes: int,
    *,
    training_seed: int | None = None,
    num_envs: int = 32,
    advance: Callable[[int], object] = lambda episodes: None,
) -> pd.DataFrame:
    """Play the held-out episodes: rows as in results.csv.

    Args:
        name: of the policy.
        contestant: a heuristic, or what `learned` makes of a run.
        problem: its name.
        config: its Config; `contestant.configure` may change how the policy acts.
        episodes: how many.
        training_seed: of a learned policy.
        num_envs: episodes that are played side by side, at most.
        advance: told how many more are done, for a progress bar.
    """
    seeds = held_out_seeds(episodes)
    make = envs.module(problem).Problem
    config, parts = contestant.configure(config), []
    for chunk in np.array_split(seeds, -(-episodes // num_envs)):
        copies = make(config, len(chunk))
        parts.append(play(copies, contestant.policy(copies), chunk.tolist()))
        copies.close()
        advance(len(chunk))
    rows = pd.concat(parts, ignore_index=True)
    rows.insert(0, "policy", name)
    rows.insert(1, "training_seed", pd.array([training_seed] * len(rows), dtype="Int64"))
    rows.insert(3, "oracle", contestant.oracle)
    return rows


def learned(folder: Path, interface: Sequence[str] = (), which: str | None = None) -> Baseline:
    """The policy of a run, or of any checkpoint of RLlib.

    Args:
        folder: of the run, or of the checkpoint.
        interface: fields of the problem's Config that say how the policy acts, and not what it
            meets; it plays with those that it was trained with.
        which: of a run's checkpoints, "best" or "final"; None: the best one if there is one.

    Raises:
        ValueError: for a broken or missing checkpoint.
    """
    from marlserve.policies.checkpoint import CheckpointPolicy

    CheckpointPolicy(folder, which)  # a broken one raises before anything is played
    own, folder = {}, Path(folder)
    if (run := run_of(folder)) is not None:
        trained_with = read_experiment(run).get("env_config", {})
        own = {field: trained_with[field] for field in interface if field in trained_with}
    return Baseline(
        policy=lambda problem: CheckpointPolicy(folder, which),
        configure=lambda config: replace(config, **own),
    )


def run_of(folder: Path) -> Path | None:
    """The folder of the run that this is, or is a checkpoint of; None if there is none."""
    folder = Path(folder)
    run = folder.parent if folder.name in ("best", "checkpoint") else folder
    return run if (run / "experiment.json").exists() else None


def _by_agent(problem: Problem, values: np.ndarray) -> dict[str, np.ndarray]:
    return {agent: values[:, i] for i, agent in enumerate(problem.agents)}
