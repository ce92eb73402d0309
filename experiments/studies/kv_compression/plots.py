"""The plots of KV compression: learning curves, regret, reward by type, arms by type."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from marlserve.envs.kv_compression import BASELINES, Config, Problem
from marlserve.experiments.harness.results import read_results
from marlserve.experiments.reports import plot
from marlserve.experiments.reports.regret_plot import cumulative_regret
from marlserve.experiments.reports.table import best
from marlserve.experiments.studies.study import Study

_BESIDE = ("best_fixed", "linucb", "best_per_type", "oracle")  # what learned policies are shown by


def draw(study: Study, folder: Path, problem: Config) -> list[Path]:
    """All that the files below a folder allow.

    Raises:
        ValueError: if there is neither a run nor a result.
    """
    by, drawn = study.ranks_by(problem), []
    if plot.knows(folder, by):
        drawn.append(plot.learning_curves(folder, by, log=False))
    if (folder / "regret.csv").exists():
        drawn.append(cumulative_regret(folder))
    if (folder / "results.csv").exists():
        results, copy = read_results(folder / "results.csv"), Problem(problem)
        drawn.append(plot.panels(folder, study.shown(problem), "comparison", larger_is_better=True))
        learned = _learned(results, by, copy.arm_names)
        shown = [name for name in (*learned, *_BESIDE) if name in set(results["policy"])]
        drawn.append(reward_by_type(folder, results, by, copy.types, shown))
        chosen = [name for name in (*learned[:1], "best_per_type") if name in shown]
        drawn.append(arms_by_type(folder, results, copy.types, copy.arm_names, chosen))
    if not drawn:
        raise ValueError(f"there is nothing to draw in {folder}: train or evaluate first")
    return drawn


def reward_by_type(
    folder: Path, results: pd.DataFrame, metric: str, types: Sequence[str], policies: Sequence[str]
) -> Path:
    """Mean of a metric for each type of prompt and policy: plots/reward_by_type.png."""
    figure, axes = plot.new_figure()
    width = 0.8 / len(policies)
    for i, policy in enumerate(policies):
        means = results[results["policy"] == policy].groupby("type")[metric].mean()
        places = np.arange(len(types)) + (i + 0.5) * width - 0.4
        axes.bar(places, means.reindex(range(len(types))), width, color=f"C{i}", label=policy)
    axes.set_xticks(np.arange(len(types)), types, fontsize="small")
    axes.set(ylabel=metric, xlabel="type of prompt")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return plot.save(figure, folder, "reward_by_type.png")


def arms_by_type(
    folder: Path,
    results: pd.DataFrame,
    types: Sequence[str],
    arms: Sequence[str],
    policies: Sequence[str],
) -> Path:
    """How often each arm was chosen for each type of prompt: plots/arms_by_type.png."""
    figure, panels = plot.new_figure(columns=len(policies), height=1.5 + 0.18 * len(arms))
    for i, (policy, axes) in enumerate(zip(policies, np.atleast_1d(panels), strict=True)):
        rows = results[results["policy"] == policy]
        shares = pd.crosstab(rows["arm"], rows["type"], normalize="columns")
        shares = shares.reindex(index=range(len(arms)), columns=range(len(types)), fill_value=0.0)
        image = axes.imshow(shares, vmin=0.0, vmax=1.0, cmap="Blues", aspect="auto")
        axes.set_xticks(range(len(types)), types, rotation=40, ha="right", fontsize="x-small")
        axes.set_yticks(range(len(arms)), arms if i == 0 else [], fontsize="x-small")
        axes.set_title(policy, fontsize="small")
    figure.colorbar(image, ax=panels, label="share of the prompts", shrink=0.6)
    return plot.save(figure, folder, "arms_by_type.png")


def _learned(results: pd.DataFrame, by: str, arms: Sequence[str]) -> list[str]:
    """What was trained, the best first; no constant, and nothing of the baselines."""
    names = [x for x in results["policy"].unique() if x not in BASELINES and x not in arms]
    ranked = []
    while names:
        ranked.append(best(results, names, by, larger_is_better=True))
        names.remove(ranked[-1])
    return ranked
