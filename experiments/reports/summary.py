"""What a run was and how it went, in words and numbers: `summary.md` in its folder.

It is made from the run's own files alone, so that it can be written again at any time.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from marlserve.experiments.harness.experiment import Experiment
from marlserve.experiments.harness.run import RETURN, read_experiment, read_progress, write
from marlserve.experiments.reports.markdown import markdown_lines

_SAMPLED = "episode_return_mean"
_ROWS = 12  # of the curve


def write_summary(folder: Path, evaluate: Sequence[str]) -> Path:
    """Write the summary of a run.

    Args:
        folder: of the run.
        evaluate: the command that evaluates it, word by word.

    Returns:
        the file.

    Raises:
        ValueError: if the folder holds no run, or one without any progress.
    """
    experiment, rows = Experiment(**read_experiment(folder)), read_progress(folder)
    if rows.empty:
        raise ValueError(f"{folder} has no progress to sum up")
    parts = [
        f"# {experiment.name} on {experiment.problem}, {experiment.preset}, seed {experiment.seed}",
        _training(experiment, rows),
        "## Returns",
        _curve(rows),
        *_checkpoints(folder, rows),
        *_metrics(rows),
        "## Evaluate it\n\nOn held-out episodes, beside the heuristics:",
        f"    {shlex.join(evaluate)}",
    ]
    write(folder / "summary.md", "\n\n".join(parts) + "\n")
    return folder / "summary.md"


def _training(experiment: Experiment, rows: pd.DataFrame) -> str:
    last, asked = rows.iloc[-1], asdict(experiment.problem_config())
    standard = asdict(type(experiment.problem_config())())
    lines = [
        f"{last['env_steps']:,.0f} of {experiment.env_steps:,} env-steps in "
        f"{last['seconds']:,.0f} s ({last['cpu_seconds']:,.0f} s of CPU time of its process)",
        f"problem, beside its defaults: {_json(_changed(standard, asked))}",
        f"algorithm {experiment.algorithm}, settings: {_json(experiment.settings)}",
        f"env runners: {_json(experiment.env_runners)}",
    ]
    if experiment.evaluate_every:
        lines.append(
            f"evaluated greedily every {experiment.evaluate_every:,} env-steps, over "
            f"{experiment.evaluation_episodes} episodes with {_json(experiment.evaluation_config)}"
        )
    return "\n".join(f"- {line}" for line in lines)


def _curve(rows: pd.DataFrame) -> str:
    """Some rows from all over the training, evaluated ones where there are any."""
    columns = [name for name in (_SAMPLED, RETURN) if name in rows]
    shown = rows.dropna(subset=RETURN) if RETURN in rows else rows
    if shown.empty:
        shown = rows
    places = np.unique(np.linspace(0, len(shown) - 1, _ROWS).round().astype(int))
    cells = [
        [f"{row['env_steps']:,.0f}", *(_number(row[name]) for name in columns)]
        for _, row in shown.iloc[places].iterrows()
    ]
    return _table(["env-steps", *columns], cells)


def _checkpoints(folder: Path, rows: pd.DataFrame) -> list[str]:
    """What best/ and checkpoint/ are worth."""
    evaluated = rows.dropna(subset=RETURN) if RETURN in rows else rows.iloc[:0]
    if evaluated.empty or not (folder / "best" / "counters.json").exists():
        return []
    best = json.loads((folder / "best" / "counters.json").read_text())
    last = evaluated.iloc[-1]
    return [
        f"- `best/`: {RETURN} {_number(best[RETURN])} at {best['env_steps']:,} env-steps\n"
        f"- `checkpoint/`, final: {_number(last[RETURN])} at {last['env_steps']:,.0f} env-steps"
    ]


def _metrics(rows: pd.DataFrame) -> list[str]:
    """The problem's metrics in the last evaluation."""
    prefix = "evaluation_"
    names = [name for name in rows if name.startswith(prefix) and name != RETURN]
    if not names or (evaluated := rows.dropna(subset=names, how="all")).empty:
        return []
    last = evaluated.iloc[-1]
    cells = [[name.removeprefix(prefix), _number(last[name])] for name in names]
    return ["## The last evaluation", _table(["metric", "mean"], cells)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_lines(header, rows, ["---:"] * len(header))


def _changed(standard: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value != standard[name]}


def _json(values: dict[str, Any]) -> str:
    return f"`{json.dumps(values)}`"


def _number(value: float | None) -> str:
    return "-" if pd.isna(value) else f"{value:.5g}"
