"""Plots, drawn from the files below one preset's folder: learning curves and bars of metrics.

runs/<problem>/<preset>/<algorithm>/seed_<n>/progress.jsonl
runs/<problem>/<preset>/results.csv

`plot_pareto` and `plot_timeline` draw further ones. Matplotlib is imported when the first one is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from marlserve.experiments.harness.results import read_results
from marlserve.experiments.harness.run import RETURN, read_progress
from marlserve.experiments.reports import statistics
from marlserve.experiments.reports.table import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_GRID = 100  # points of a curve
_NEAR = 0.25  # of the height of the curves: how far a heuristic may lie outside and be shown


def learning_curves(folder: Path, metric: str, *, log: bool = True) -> Path:
    """A metric of the training episodes against env-steps: mean and 95 % interval over
    training seeds. The heuristics that come near, as evaluated, are horizontal lines. Below it, if
    any run has some, the returns of the evaluations while training.

    Training episodes are played with exploration, on other traffic than that of the evaluation.

    Args:
        folder: of the preset.
        metric: a column of progress.jsonl.
        log: a log scale, if all values are positive.

    Returns:
        the file, plots/learning_curves.png.

    Raises:
        ValueError: if no run there has such a metric yet.
    """
    runs, evaluated = _runs(folder, metric), _runs(folder, RETURN)
    if not runs:
        raise ValueError(f"no run in {folder} knows its {metric}: no training episode has ended")
    colours = {name: f"C{i}" for i, name in enumerate(dict.fromkeys([*runs, *evaluated]))}
    figure, axes = new_figure(
        rows=2 if evaluated else 1, height=6.5 if evaluated else 4.0, sharex=True
    )
    if evaluated:
        axes, below = axes
        draw_curves(below, evaluated, RETURN, colours)
        below.set(xlabel="env-steps", ylabel="return of greedy episodes")
    draw_curves(axes, runs, metric, colours)
    low, high = axes.get_ylim()
    margin = _NEAR * (high - low)
    _horizontal_lines(axes, folder, metric, len(colours), within=(low - margin, high + margin))
    axes.set(xlabel="" if evaluated else "env-steps", ylabel=f"{metric}, while training")
    if log and all((rows[metric] > 0).all() for parts in runs.values() for rows in parts):
        axes.set_yscale("log")
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return save(figure, folder, "learning_curves.png")


def knows(folder: Path, metric: str) -> bool:
    """Whether any run in the folder of a preset has such a metric yet."""
    return bool(_runs(folder, metric))


def _runs(folder: Path, metric: str) -> dict[str, list[pd.DataFrame]]:
    """The progress of all training seeds, by name, where the metric is known."""
    runs: dict[str, list[pd.DataFrame]] = {}
    for path in sorted(Path(folder).glob("*/seed_*/progress.jsonl")):
        rows = read_progress(path.parent)
        if metric in rows and len(rows := rows.dropna(subset=[metric])):
            runs.setdefault(path.parent.parent.name, []).append(rows)
    return runs


def draw_curves(
    axes: "Axes", runs: dict[str, list[pd.DataFrame]], metric: str, colours: dict[str, str]
) -> None:
    """Means over training seeds against env-steps, and their 95 % intervals, or the range of less
    than five seeds: see `statistics`."""
    known = [rows[metric] for parts in runs.values() for rows in parts]
    bounds = statistics.bounds_of(np.concatenate(known))
    for name, parts in runs.items():
        start = max(rows["env_steps"].iloc[0] for rows in parts)
        stop = min(rows["env_steps"].iloc[-1] for rows in parts)
        steps = np.linspace(min(start, stop), stop, _GRID)
        curves = np.array([np.interp(steps, rows["env_steps"], rows[metric]) for rows in parts])
        label = f"{name} ({len(parts)} seed{'s' if len(parts) > 1 else ''})"
        axes.plot(steps, curves.mean(axis=0), color=colours[name], label=label)
        if len(parts) > 1:
            bands = [statistics.of_draws(values, bounds) for values in curves.T]
            low, high = [x.low for x in bands], [x.high for x in bands]
            axes.fill_between(steps, low, high, color=colours[name], alpha=0.2, lw=0)
    in_thousands(axes.xaxis)


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
    figure, axes = new_figure()
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
    names = [*map(_shown, result["policy"], result["oracle"])]
    axes.set_xticks(places, names, rotation=40, ha="right", fontsize="small")
    axes.set_yscale("log")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize="x-small", frameon=False)
    return save(figure, folder, f"{name}.png")


def panels(
    folder: Path, metrics: Sequence[str], name: str, *, larger_is_better: bool = False
) -> Path:
    """Some metrics of the evaluation, each in a panel with a scale of its own, for every policy.

    Args:
        folder: of the preset.
        metrics: columns of results.csv; the first one orders the policies, the best on top.
        name: of the file, plots/`name`.png.
        larger_is_better: what is good in the first one.

    Raises:
        ValueError: if there are no results.
    """
    results = read_results(Path(folder) / "results.csv")
    result = table(results, metrics, larger_is_better=larger_is_better)[::-1]
    figure, row = new_figure(columns=len(metrics), height=1.2 + 0.24 * len(result), sharey=True)
    places = np.arange(len(result))
    colours = ["C1" if seeds else "C7" for seeds in result["training_seeds"]]
    for axes, metric in zip(np.atleast_1d(row), metrics, strict=True):
        mean, low, high = (result[f"{metric}{end}"] for end in ("", "_low", "_high"))
        reach = [mean - low, high - mean]
        axes.barh(places, mean, xerr=reach, error_kw={"lw": 0.8}, color=colours, alpha=0.8)
        axes.set_title(metric, fontsize="small")
        axes.tick_params(labelsize="x-small")
        axes.grid(axis="x", alpha=0.3)
        axes.locator_params(axis="x", nbins=4)
    names = [*map(_shown, result["policy"], result["oracle"])]
    np.atleast_1d(row)[0].set_yticks(places, names, fontsize="small")
    return save(figure, folder, f"{name}.png")


def _horizontal_lines(
    axes: "Axes", folder: Path, metric: str, first_colour: int, within: tuple[float, float]
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
            label=_shown(policy, oracle),
        )


def _shown(policy: str, oracle: bool) -> str:
    return f"{policy} (oracle)" if oracle and policy != "oracle" else policy


def new_figure(
    rows: int = 1, columns: int = 1, height: float = 4.0, **subplots: Any
) -> "tuple[Figure, Any]":
    """A figure of some inches in height, and what `Figure.subplots` gives."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)  # no window, and no state that figures share
    return figure, figure.subplots(rows, columns, **subplots)


def in_thousands(axis: "Axis", sep: str = " ") -> None:
    """Write 20 k and 3 M for 20,000 and 3,000,000."""
    from matplotlib.ticker import EngFormatter

    axis.set_major_formatter(EngFormatter(sep=sep))


def save(figure: "Figure", folder: Path, name: str) -> Path:
    """Write a figure to plots/`name` below a preset's folder."""
    path = Path(folder, "plots", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
