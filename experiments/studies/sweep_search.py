"""A search for the learning rate and the width of an algorithm's networks.

    folder, trials = search(Sweep(experiment, "mean_latency_s", widths=(32, 64)), Path("runs"))

Learning rates are drawn log-uniformly between two bounds, widths from a list; every draw is a
trial, a training by Ray Tune. Every ninth of the steps, the policy as it is then plays greedily the
episodes of `validation`: of the training's own traffic, the same ones for all, apart from those
that are held out. After one and after three ninths of the steps, a trial goes on only if its metric
is in the best third of those that came as far before it (asynchronous successive halving: Li et al.
2020, https://arxiv.org/abs/1810.05934). The learning rate of a trial is constant.

Ctrl-C leaves what is there, and the same call goes on. The folder is <out>/<problem>/<preset>/
sweep/<name>/:

    sweep.json        what was asked for
    tune/             Ray Tune's state, until all trials are done
    trials.csv        a row per trial, the best first: lr, width, env_steps, seconds, the metric,
                      and state: "finished", "stopped early" or "failed"
    table.md          the same
    plots/sweep.png   the metric against the learning rate
"""

import json
import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from marlserve.experiments.harness.run import write
from marlserve.experiments.reports import plot
from marlserve.experiments.reports.markdown import markdown_lines
from marlserve.experiments.studies.sweep_plan import (
    FAILED,
    FINISHED,
    STOPPED,
    Sweep,
    width_settings,
)
from marlserve.experiments.studies.sweep_trials import config_of, run_trials


def search(
    asked: Sweep, out: Path, jobs: int = 1, *, overwrite: bool = False
) -> tuple[Path, pd.DataFrame]:
    """Do all trials that are not done, and write and print what came out.

    Args:
        asked: what is searched for.
        out: where all runs are.
        jobs: trials side by side; of a search that goes on, not more than it began with.
        overwrite: begin anew, whatever is there.

    Returns:
        the folder, and the rows of trials.csv.

    Raises:
        ValueError: before anything is changed, for less than one job, for settings that the
            algorithm refuses, and if the folder holds another search.
        ChildProcessError: if all trials failed.
        KeyboardInterrupt: with the state saved, if interrupted by SIGINT.
    """
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; it must be at least 1")
    folder, question = Path(out) / asked.folder, json.loads(json.dumps(asdict(asked)))
    if not overwrite:
        _check(folder, question)
    if overwrite or not (folder / "trials.csv").exists():
        config = config_of(asked)
        if overwrite:
            _clear(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / "sweep.json", json.dumps(question, indent=2) + "\n")
        trials = _in_order(run_trials(asked, config, folder / "tune", jobs), asked)
        write(folder / "trials.csv", trials.to_csv(index=False))
    else:
        print(f"{folder} is finished: not searched again")
    shutil.rmtree(folder / "tune", ignore_errors=True)  # also one that was left between the two
    trials = pd.read_csv(folder / "trials.csv")
    _show(trials, folder, asked)
    _draw(trials, folder, asked)
    return folder, trials


def best_settings(asked: Sweep, trials: pd.DataFrame) -> dict[str, Any]:
    """Settings of the algorithm: those of the first row of trials.csv."""
    best = trials.iloc[0]
    lr = float(f"{best['lr']:.3g}")
    return {"lr": lr, **width_settings(asked.experiment.config(), int(best["width"]))}


def _check(folder: Path, question: dict[str, Any]) -> None:
    if not (folder / "sweep.json").exists():
        return
    there = json.loads((folder / "sweep.json").read_text())
    for name, value in question.items():
        if there.get(name) == value:
            continue
        pair = [there.get(name), value]
        if name == "experiment":
            name, *pair = next(
                (f"{name}.{k}", there[name].get(k), v)
                for k, v in value.items()
                if there[name].get(k) != v
            )
        raise ValueError(
            f"{folder} holds another search: {name} is {pair[0]!r} there, {pair[1]!r} is asked "
            "for; choose another folder, or overwrite it"
        )


def _clear(folder: Path) -> None:
    if (folder / "tune").exists():
        shutil.rmtree(folder / "tune")
    for name in ("sweep.json", "trials.csv", "table.md", "plots/sweep.png"):
        (folder / name).unlink(missing_ok=True)


def _in_order(trials: pd.DataFrame, asked: Sweep) -> pd.DataFrame:
    """Finished trials first, then those that came farthest; the best first among them."""
    order = trials.assign(
        _state=trials["state"].map([FINISHED, STOPPED, FAILED].index),
        _steps=-trials["env_steps"].where(trials["state"] == STOPPED, 0),
        _metric=trials[asked.metric] * (-1 if asked.larger_is_better else 1),
    )
    return order.sort_values(["_state", "_steps", "_metric"])[list(trials)]


def _show(trials: pd.DataFrame, folder: Path, asked: Sweep) -> None:
    """Print the table, and write it as Markdown."""
    header = ["lr", "width", "env_steps", "seconds", asked.metric, "state"]
    rows = [
        [
            f"{row['lr']:.3g}",
            f"{row['width']}",
            f"{row['env_steps']:,}",
            f"{row['seconds']:,.0f}",
            "-" if math.isnan(row[asked.metric]) else f"{row[asked.metric]:.4g}",
            row["state"],
        ]
        for _, row in trials.iterrows()
    ]
    pretty = Table(title=f"{asked.folder}", box=SIMPLE_HEAD)
    for name in header:
        pretty.add_column(name, justify="left" if name == "state" else "right")
    for row in rows:
        pretty.add_row(*row)
    Console(highlight=False).print(pretty)
    align = ["---:"] * (len(header) - 1) + ["---"]
    write(folder / "table.md", markdown_lines(header, rows, align) + "\n")


def _draw(trials: pd.DataFrame, folder: Path, asked: Sweep) -> Path:
    figure, axes = plot.new_figure()
    shown = trials[np.isfinite(trials[asked.metric])]
    for i, width in enumerate(sorted(asked.widths)):
        for state, face in ((FINISHED, f"C{i}"), (STOPPED, "none")):
            rows = shown[(shown["width"] == width) & (shown["state"] == state)]
            axes.scatter(rows["lr"], rows[asked.metric], c=face, edgecolors=f"C{i}")
        axes.scatter([], [], c=f"C{i}", label=f"width {width}")
    axes.scatter([], [], c="none", edgecolors="k", label=STOPPED)
    axes.set(xscale="log", xlabel="learning rate", ylabel=f"{asked.metric}, greedy episodes")
    if (shown[asked.metric] > 0).all():
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", frameon=False)
    return plot.save(figure, folder, "sweep.png")
