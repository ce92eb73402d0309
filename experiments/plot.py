"""Plots, drawn from the files below one preset's folder: learning curves and bars of metrics.

runs/<problem>/<preset>/<algorithm>/seed_<n>/progress.jsonl
runs/<problem>/<preset>/results.csv
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from marlserve.experiments.evaluate import read_results
from marlserve.experiments.run import read_progress
from marlserve.experiments.table import resampled_means, table

_GRID = 100  # points of a curve
_RESAMPLES = 500
_NEAR = 0.25  # of the height of the curves: how far a heuristic may lie outside and be shown


def learning_curves(folder: Path, metric: str) -> Path:
    """A metric of the training episodes against env-steps: mean and 95 % bootstrap interval over
    training seeds. The heuristics that come near, as evaluated, are horizontal lines.

    Training episodes are played with exploration, on other traffic than that of the evaluation.

    Args:
        folder: of the preset.
        metric: a column of progress.jsonl.

    Returns:
        the file, plots/learning_curves.png.

    Raises:
        ValueError: if no run there has such a metric yet.
    """
    runs: dict[str, list[pd.DataFrame]] = {}
    for path in sorted(Path(folder).glob("*/seed_*/progress.jsonl")):
        rows = read_progress(path.parent)
        if metric in rows and len(rows := rows.dropna(subset=[metric])):
            runs.setdefault(path.parent.parent.name, []).append(rows)
    if not runs:
        raise ValueError(f"no run in {folder} knows its {metric}: no training episode has ended")
    figure, axes = _figure()
    for i, (name, parts) in enumerate(runs.items()):
        start = max(rows["env_steps"].iloc[0] for rows in parts)
        stop = min(rows["env_steps"].iloc[-1] for rows in parts)
        steps = np.linspace(min(start, stop), stop, _GRID)
        curves = np.array([np.interp(steps, rows["env_steps"], rows[metric]) for rows in parts])
        label = f"{name} ({len(parts)} seed{'s' if len(parts) > 1 else ''})"
        axes.plot(steps, curves.mean(axis=0), color=f"C{i}", label=label)
        if len(parts) > 1:
            once = np.ones((_RESAMPLES, 1))
            drawn = [resampled_means(x[:, None], once, np.random.default_rng(0)) for x in curves.T]
            axes.fill_between(
                steps, *np.percentile(drawn, [2.5, 97.5], axis=1), color=f"C{i}", alpha=0.2, lw=0
            )
    low, high = axes.get_ylim()
    margin = _NEAR * (high - low)
    _horizontal_lines(axes, folder, metric, len(runs), within=(low - margin, high + margin))
    axes.set(xlabel="env-steps", ylabel=f"{metric}, while training")
    axes.xaxis.set_major_formatter(EngFormatter())
    if all((rows[metric] > 0).all() for parts in runs.values() for rows in parts):
        axes.set_yscale("log")
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return _save(figure, folder, "learning_curves.png")


def bars(folder: Path, metrics: Sequence[str], name: str) -> Path:
    """Some metrics of the evaluation, side by side for every policy, on a log scale.

    Args:
        folder: of the preset.
        metrics: positive columns of results.csv, in one unit; the last one orders the policies.
        name: of the file, plots/`name`.png.

    Raises:
        ValueError: if there are no results.
    """
    result = table(read_results(Path(folder) / "results.csv"), metrics, by=metrics[-1])
    figure, axes = _figure()
    width = 0.8 / len(metrics)
    places = np.arange(len(result))
    for i, metric in enumerate(metrics):
        mean, low, high = (result[f"{metric}{end}"] for end in ("", "_low", "_high"))
        axes.bar(
            places + (i + 0.5) * width - 0.4,
            mean,
            width,
            yerr=[mean - low, high - mean],
            error_kw={"lw": 0.7},
            color=f"C{i}",
            label=metric,
        )
    names = result["policy"].where(~result["oracle"], result["policy"] + " (oracle)")
    axes.set_xticks(places, names, rotation=40, ha="right", fontsize="small")
    axes.set_yscale("log")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize="x-small", frameon=False)
    return _save(figure, folder, f"{name}.png")


def _horizontal_lines(
    axes: Axes, folder: Path, metric: str, first_colour: int, within: tuple[float, float]
) -> None:
    """The means of the policies that were not trained, if any was evaluated and is within."""
    file = Path(folder) / "results.csv"
    if not file.exists():
        return
    results = read_results(file)
    heuristics = results[results["training_seed"].isna()]
    if metric not in results or heuristics.empty:
        return
    means = heuristics.groupby(["oracle", "policy"])[metric].mean().sort_values(ascending=False)
    means = means[means.between(*within)]
    for i, ((oracle, policy), mean) in enumerate(means.items()):
        axes.axhline(
            mean,
            lw=1.0,
            ls=":" if oracle else "--",
            color=f"C{first_colour + i}",
            label=f"{policy} (oracle)" if oracle else policy,
        )


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.2, 4.0), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)  # no window, and no state that figures share
    return figure, figure.subplots()


def _save(figure: Figure, folder: Path, name: str) -> Path:
    path = Path(folder, "plots", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
