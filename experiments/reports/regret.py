"""Cumulative regret: what a bandit has lost by some round, against the best arm of every round.

regret.csv in the folder of a preset holds curves, a few points of each:

    policy, seed    whose: of a run, or of a baseline that learned, or played, outside of RLlib
    pulls           rounds so far
    regret          summed over them

A seed stands for all that chance decides. Where policies of one seed share some of it, as the
instance of the problem, their differences vary less than they do.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from marlserve.experiments.harness.run import read_experiment, read_progress, write
from marlserve.experiments.reports import statistics, table

REGRET = "regret"  # the metric of a problem, of one round
KEYS = ["policy", "seed"]
COLUMNS = [*KEYS, "pulls", REGRET]
_POINTS = 100  # of a curve in regret.csv, at most

Curves = Mapping[tuple[str, int], pd.DataFrame]  # {(policy, seed): what `curve` gives}


def curve(
    regrets: Sequence[float] | np.ndarray, rounds: Sequence[int] | None = None
) -> pd.DataFrame:
    """The cumulative curve of these regrets, from 0 on.

    Args:
        regrets: of each round; or the mean over some rounds in a row.
        rounds: over how many each mean is; 1 by default.

    Returns:
        columns pulls and regret.

    Raises:
        ValueError: if there is none, or one is not a finite number.
    """
    values = np.asarray(regrets, float)
    counts = np.ones(len(values), int) if rounds is None else np.asarray(rounds)
    if not len(values):
        raise ValueError("there is no round: regret is of at least one")
    if not np.isfinite(values).all():
        raise ValueError(f"regret is {values[~np.isfinite(values)][0]}; allowed is finite")
    summed = np.cumsum(values * counts)
    return pd.DataFrame({"pulls": np.append(0, np.cumsum(counts)), REGRET: np.append(0.0, summed)})


def cumulative(folder: Path) -> pd.DataFrame:
    """The curve of a run, from its progress.jsonl; columns pulls and regret.

    It is exact where the metrics of an iteration are means over exactly its rounds, as NeuralUCB
    has them: one update per iteration, and a window of as many rounds.

    Raises:
        ValueError: if it has no progress yet, or a row of it does not know the regret.
    """
    rows = read_progress(folder)
    if rows.empty:
        raise ValueError(f"{folder} has no progress yet: train it first")
    if REGRET not in rows or rows[REGRET].isna().any():
        raise ValueError(f"{folder} has rows of progress without a {REGRET}")
    return curve(rows[REGRET], np.diff(rows["env_steps"], prepend=0))


def of_runs(folders: Sequence[Path]) -> dict[tuple[str, int], pd.DataFrame]:
    """The curves of some runs, by name and seed."""
    experiments = {folder: read_experiment(folder) for folder in folders}
    return {(x["name"], x["seed"]): cumulative(folder) for folder, x in experiments.items()}


def merge(file: Path, curves: Curves) -> pd.DataFrame:
    """Add curves to regret.csv, in place of earlier ones of that policy and seed.

    Returns:
        all curves, as `read` gives them.
    """
    parts = [
        _thinned(points).assign(policy=policy, seed=seed)
        for (policy, seed), points in curves.items()
    ]
    if Path(file).exists():
        before = read(file)
        kept = [key not in curves for key in zip(before["policy"], before["seed"], strict=True)]
        parts.insert(0, before[kept])
    rows = pd.concat(parts)[COLUMNS].sort_values([*KEYS, "pulls"], ignore_index=True)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    write(Path(file), rows.to_csv(index=False, float_format="%.8g"))
    return rows


def read(file: Path) -> pd.DataFrame:
    """The rows of a regret.csv.

    Raises:
        ValueError: if there is none, it has no rows, or it lacks a column.
    """
    if not Path(file).exists():
        raise ValueError(f"there is no {file}: compare policies first")
    try:
        rows = pd.read_csv(file)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{file} is broken: {error}") from error
    if missing := [name for name in COLUMNS if name not in rows]:
        raise ValueError(f"{file} has no column {missing[0]!r}; it needs {COLUMNS}")
    if rows.empty:
        raise ValueError(f"{file} has no rows")
    return rows[COLUMNS]


def by_seed(rows: pd.DataFrame) -> dict[str, dict[int, pd.DataFrame]]:
    """{policy: {seed: its curve}} of the rows of a regret.csv."""
    curves: dict[str, dict[int, pd.DataFrame]] = {}
    for (policy, seed), points in rows.groupby(KEYS):
        curves.setdefault(policy, {})[seed] = points[["pulls", REGRET]]
    return curves


def final(rows: pd.DataFrame, reference: str | None = None) -> tuple[pd.DataFrame, int]:
    """The regret of every policy where the shortest of all curves ends.

    Intervals and ranks are those of `statistics`, over seeds; differences are of pairs.

    Args:
        rows: of a regret.csv.
        reference: a policy; the columns "difference" compare with it.

    Returns:
        as `table.table` does, over the seeds that all policies have in common; and the pulls.

    Raises:
        ValueError: if the policies have no seed in common, and for an unknown reference.
    """
    curves = by_seed(rows)
    common = sorted(set.intersection(*(set(seeds) for seeds in curves.values())))
    if not common:
        there = {policy: list(seeds) for policy, seeds in curves.items()}
        raise ValueError(f"the policies have no seed in common: {there}")
    if reference is not None and reference not in curves:
        raise ValueError(f"the reference {reference!r} is not among {list(curves)}")
    pulls = int(rows.groupby(KEYS)["pulls"].max().min())
    ends = {
        policy: np.array(
            [np.interp(pulls, seeds[seed]["pulls"], seeds[seed][REGRET]) for seed in common]
        )
        for policy, seeds in curves.items()
    }
    bounds = statistics.bounds_of(np.concatenate(list(ends.values())))
    found: list[dict[str, Any]] = [
        {
            "policy": policy,
            "oracle": False,
            "training_seeds": len(common),
            "episodes": len(common),
            "windows": len(common),
            **statistics.of_draws(own, bounds).columns(REGRET),
        }
        for policy, own in ends.items()
    ]
    if reference is not None:
        for row in found:
            paired = statistics.of_draws(ends[row["policy"]] - ends[reference])
            row |= paired.columns("difference")
    result = pd.DataFrame(found).sort_values(REGRET, ignore_index=True)
    result["rank"] = statistics.ranks(
        [ends[policy] for policy in result["policy"]],
        lambda own, other: statistics.are_apart(_sample(own), _sample(other)),
    )
    result["tied"] = result["rank"].duplicated(keep=False)
    result.attrs = {"by": REGRET, "reference": reference, "gap": None}
    result.attrs["over"] = f"{len(common)} seeds"
    return result, pulls


def _sample(values: np.ndarray) -> statistics.Sample:
    """Seeds take the place of episodes: they stand for all that chance decides."""
    return statistics.Sample(values[None, :], learned=False)


def show(rows: pd.DataFrame, title: str, reference: str | None = None) -> str:
    """Print the table of `final`; the same as Markdown."""
    result, pulls = final(rows, reference)
    heading = f"{title}: regret after {pulls:,} pulls"
    table.show(result, [REGRET], heading)
    return f"{heading}\n\n{table.markdown(result, [REGRET])}"


def _thinned(points: pd.DataFrame) -> pd.DataFrame:
    """Some points of a curve at equal distances, the first and the last among them."""
    chosen = np.linspace(0, len(points) - 1, min(_POINTS, len(points))).round().astype(int)
    return points.iloc[chosen]
