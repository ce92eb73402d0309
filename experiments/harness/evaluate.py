"""Play episodes with policies: one row per episode, with its metrics as columns.

All policies meet the same held-out episodes: split="test" of the traffic, and seeds from 2**31 on,
where training, which draws its seeds below, never comes. A learned policy plays greedily.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from marlserve import envs
from marlserve.envs.base import Policy, Problem
from marlserve.experiments.harness.contestant import Contestant
from marlserve.experiments.harness.results import RUN

FIRST_TEST_SEED = 2**31


def held_out_seeds(episodes: int) -> list[int]:
    """The seeds of the first test episodes.

    Raises:
        ValueError: for less than one.
    """
    if episodes < 1:
        raise ValueError(f"episodes is {episodes}; it must be at least 1")
    return [FIRST_TEST_SEED + i for i in range(episodes)]


class Step(NamedTuple):
    """One step of B copies with N agents."""

    observations: np.ndarray  # [B, N, *O], before it
    masks: np.ndarray | None  # [B, N, components, actions] bool: which actions were legal
    actions: np.ndarray  # [B, N, *A]
    rewards: np.ndarray  # [B, N]
    terminated: np.ndarray  # [B]
    truncated: np.ndarray  # [B]
    next_observations: np.ndarray  # [B, N, *O]
    acted: np.ndarray  # [B, N] bool: whose step it was, in the one episode of each copy


def play(
    problem: Problem,
    policy: Policy,
    seeds: Sequence[int],
    seen: Callable[[Step], object] | None = None,
) -> pd.DataFrame:
    """One episode in each of the B copies of a problem.

    Args:
        problem: B copies.
        policy: new, or reset.
        seeds: B of them.
        seen: told every step; None: nobody is.

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
        actions = policy(
            _by_agent(problem, observations), None if masks is None else _by_agent(problem, masks)
        )
        joint = np.stack([actions[agent] for agent in problem.agents], axis=1)
        before, active = observations, None if seen is None else problem.active()
        observations, rewards, terminated, truncated = problem.step(joint)
        if seen is not None:
            acted = active & np.array([row is None for row in rows])[:, None]
            seen(Step(before, masks, joint, rewards, terminated, truncated, observations, acted))
        returns += rewards.mean(axis=1, dtype=float)
        ended = np.flatnonzero(terminated | truncated)
        if len(ended):
            metrics, windows = problem.metrics(), problem.windows()
            for copy in ended.tolist():
                if rows[copy] is None:
                    row = {"episode_seed": seeds[copy], "return": returns[copy]}
                    if windows is not None:
                        row["window"] = float(windows[copy])
                    row |= {name: float(values[copy]) for name, values in metrics.items()}
                    rows[copy] = row
            if None in rows:  # the others go on; nobody looks at these any more
                observations = problem.reset(copies=ended)
    return pd.DataFrame(rows)


def evaluate(
    contestant: Contestant,
    problem: str,
    episodes: int,
    *,
    num_envs: int = 32,
    advance: Callable[[int], object] = lambda episodes: None,
) -> pd.DataFrame:
    """Play the held-out episodes: rows as in results.csv.

    Args:
        contestant: who plays.
        problem: its name.
        episodes: how many.
        num_envs: episodes that are played side by side, at most.
        advance: told how many more are done, for a progress bar.
    """
    seeds, parts = held_out_seeds(episodes), []
    make = envs.module(problem).Problem
    for chunk in np.array_split(seeds, -(-episodes // num_envs)):
        copies = make(contestant.config, len(chunk))
        parts.append(play(copies, contestant.policy(copies), chunk.tolist()))
        copies.close()
        advance(len(chunk))
    rows = pd.concat(parts, ignore_index=True)
    seed = pd.array([contestant.training_seed] * len(rows), dtype="Int64")
    rows.insert(0, "policy", contestant.name)
    rows.insert(1, "training_seed", seed)
    rows.insert(2, RUN, "" if contestant.experiment is None else contestant.experiment.digest)
    rows.insert(4, "oracle", contestant.oracle)
    rows.insert(5, "system", contestant.system)
    return rows


def experiments_of(contestants: Sequence[Contestant]) -> dict[str, dict[str, Any]]:
    """{digest: what was trained}, as `results.merge_results` asks for it."""
    trained = [x.experiment for x in contestants if x.experiment is not None]
    return {experiment.digest: asdict(experiment) for experiment in trained}


def play_all(
    contestants: Sequence[Contestant],
    problem: str,
    episodes: int,
    num_envs: int = 32,
    console: Console | None = None,
) -> pd.DataFrame:
    """The rows of results.csv of all contestants, of which so many episodes are played side by
    side; with a progress bar."""
    console, began_s = console or Console(highlight=False), time.monotonic()
    columns = (
        TextColumn("playing {task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} episodes"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    parts = []
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=episodes * len(contestants))

        def advance(count: int) -> None:
            bar.advance(task, count)

        for x in contestants:
            seed = "" if x.training_seed is None else f", seed {x.training_seed}"
            bar.update(task, description=f"{x.name}{seed}")
            parts.append(evaluate(x, problem, episodes, num_envs=num_envs, advance=advance))
    seconds = time.monotonic() - began_s
    console.print(f"played {len(parts)} x {episodes} episodes in {seconds:.1f} s", soft_wrap=True)
    return pd.concat(parts, ignore_index=True)


def _by_agent(problem: Problem, values: np.ndarray) -> dict[str, np.ndarray]:
    return {agent: values[:, i] for i, agent in enumerate(problem.agents)}
