"""One episode through the eyes of several policies: what came, and what each of them did.

    rows = record(problem, policy, seed, before, after)      # one per policy
    timeline(folder, {"load_aware": rows, ...}, ...)

Long episodes are drawn in bins: means of signals, and shares of the actions.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from marlserve.envs.base import Policy, Problem
from marlserve.experiments.reports.plot import new_figure, save

ACTION = "action"
_BINS = 240

Reader = Callable[[Any], dict[str, float]]  # of a Problem


def record(
    problem: Problem, policy: Policy, seed: int, before: Reader, after: Reader
) -> pd.DataFrame:
    """Play an episode: one row per step.

    Args:
        problem: one copy, without action masks.
        policy: new.
        seed: of the episode.
        before: columns that are read before each decision.
        after: columns that are read after its step; ACTION, an index, among them.
    """
    if problem.num_envs != 1:
        raise ValueError(f"the problem has {problem.num_envs} copies; a timeline is of one")
    rows, seen, over = [], problem.reset([seed]), False
    while not over:
        row = before(problem)
        actions = policy({agent: seen[:, i] for i, agent in enumerate(problem.agents)})
        joint = np.stack([actions[agent] for agent in problem.agents], axis=1)
        seen, _, terminated, truncated = problem.step(joint)
        rows.append(row | after(problem))
        over = bool(terminated[0] or truncated[0])
    return pd.DataFrame(rows)


def timeline(
    folder: Path,
    played: Mapping[str, pd.DataFrame],
    action_names: Sequence[str],
    *,
    step_s: float,
    shared: Sequence[str],
    own: Sequence[str],
    name: str = "action_timeline",
) -> Path:
    """Draw the signals of an episode, and a strip of actions for every policy.

    Args:
        folder: of the preset.
        played: {policy: rows of `record`}, of the same episode.
        action_names: in their order; colours follow it.
        step_s: between two rows.
        shared: columns that are the same for all policies, a panel each.
        own: columns of which every policy has its own, a panel each; lines have the colours of
            the policies' names.
        name: of the file, plots/`name`.png.
    """
    heights = [1.0] * (len(shared) + len(own)) + [0.45] * len(played)
    figure, panels = new_figure(
        rows=len(heights), height=1.0 + 1.3 * sum(heights), sharex=True, height_ratios=heights
    )
    binned = {policy: _binned(rows, len(action_names)) for policy, rows in played.items()}
    edges_h = next(iter(binned.values()))[0] * step_s / 3600.0
    for axes, column in zip(panels, [*shared, *own], strict=False):
        for i, (_, means, _) in enumerate(binned.values()):
            colour = f"C{i}" if column in own else "k"
            axes.stairs(means[column], edges_h, color=colour, lw=0.9, baseline=None)
            if column in shared:
                break
        axes.set_ylabel(column.replace("_per_", "\nper "), fontsize="x-small")
        axes.tick_params(labelsize="x-small")
        axes.grid(alpha=0.3)
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.linspace(0.0, 1.0, len(action_names)))
    strips = panels[-len(played) :]
    for i, (policy, (_, _, shares)) in enumerate(binned.items()):
        axes = strips[i]
        low = np.zeros(len(edges_h) - 1)
        for share, colour, action in zip(shares.T, colours, action_names, strict=True):
            axes.stairs(low + share, edges_h, baseline=low, fill=True, color=colour, label=action)
            low = low + share
        axes.set(ylim=(0, 1), yticks=[])
        axes.set_ylabel(
            policy, color=f"C{i}", rotation=0, ha="right", va="center", fontsize="small"
        )
    strips[-1].set_xlabel("hours")
    strips[-1].set_xlim(0.0, edges_h[-1])
    handles, labels = strips[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(labels), fontsize="x-small"
    )
    return save(figure, folder, f"{name}.png")


def _binned(rows: pd.DataFrame, num_actions: int) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """Edges of the bins in steps, means of the columns, shares of the actions [bins, A]."""
    count = min(len(rows), _BINS)
    edges = np.linspace(0, len(rows), count + 1).round().astype(int)
    place = np.repeat(np.arange(count), np.diff(edges))
    taken = np.eye(num_actions)[rows[ACTION].to_numpy(int)]
    shares = pd.DataFrame(taken).groupby(place).mean().to_numpy()
    return edges, rows.groupby(place).mean(), shares
