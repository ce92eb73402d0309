"""The table of results: mean, 95 % bootstrap interval, rank, and difference to a reference.

A learned policy is a set of training seeds, each of which played the same episodes. Its interval is
over both: training seeds are drawn with replacement, and so are episodes. Draws of three seeds
spread less than three trainings do, so what they differ by is stretched to what Student's t asks
for. All policies are given the same draws of episodes. So the difference of two policies is that of
pairs, on the same traffic, which is far more certain than either of them.

A policy's rank is one more than the number of policies that are better with 97.5 % confidence;
those that share a rank are tied. Oracles, which are told what no deployment knows, are not ranked.
How much of the way from some policy to an oracle is gone is a ratio of paired differences, of the
same draws.

Episodes that play the same window of a recording (column "window") are alike, and are drawn
together: a day that is played ten times is one day.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from scipy.stats import norm, t

from marlserve.experiments.reports.markdown import markdown_lines

RESAMPLES = 2000
_WIDE = 8  # columns, from which on their names are broken into lines


def resampled_means(values: np.ndarray, episodes: np.ndarray, rng: np.random.Generator):
    """Means of `values` [S, E] under draws of seeds, and of `episodes` [R, E]: [R].

    A draw's distance from equal weights of all seeds is multiplied by `stretch`.

    Args:
        values: one row per training seed.
        episodes: how often each episode is drawn, in each resample, over E.
        rng: draws the seeds.
    """
    count = len(values)
    seeds = rng.multinomial(count, np.full(count, 1 / count), size=len(episodes)) / count
    seeds = 1 / count + stretch(count) * (seeds - 1 / count)
    return np.einsum("rs,se,re->r", seeds, values, episodes)


def stretch(count: int) -> float:
    """Half a 95 % interval by Student's t over that of the bootstrap, of so many normal values.

    The bootstrap's standard error is that of the mean times sqrt((n - 1) / n), and its interval
    has the normal's quantile. 2.7 of 3 values, 1.5 of 5, 1.2 of 10; 1 of a single one.
    """
    if count == 1:
        return 1.0
    return t.ppf(0.975, count - 1) / norm.ppf(0.975) * np.sqrt(count / (count - 1))


def table(
    results: pd.DataFrame,
    metrics: Sequence[str],
    *,
    by: str | None = None,
    larger_is_better: bool = False,
    reference: str | None = None,
    gap: tuple[str, str] | None = None,
) -> pd.DataFrame:
    """One row per policy, the best first, over the episodes that all of them played.

    Args:
        results: rows as in results.csv.
        metrics: columns to show.
        by: the one that ranks; the first by default.
        larger_is_better: what is good in it.
        reference: a policy; the columns "difference" compare with it, in `by`.
        gap: two policies; the columns "gap_closed" say which share of the difference between them,
            in `by`, a policy gains on the first one.

    Returns:
        columns policy, oracle, training_seeds (0 for heuristics), episodes, windows (how many
        differ), rank (NA for oracles), tied, `m`, `m_low` and `m_high` for every metric m, and
        difference, difference_low, difference_high, gap_closed, gap_closed_low, gap_closed_high;
        attrs "by", "reference" and "gap". If the second policy of the gap is not better than the
        first one with 97.5 % confidence, there is no gap to close, and its columns are NaN.

    Raises:
        ValueError: for an unknown metric, reference or policy of the gap, and if no episode is
            common to all.
    """
    by = by or metrics[0]
    for name in {*metrics, by} - set(results):
        raise ValueError(f"there is no metric {name!r}; there are {sorted(results)}")
    values = {name: _values(results, name) for name in dict.fromkeys([*metrics, by])}
    policies = list(values[by])
    for name in [*([reference] if reference is not None else []), *(gap or ())]:
        if name not in policies:
            raise ValueError(f"the reference {name!r} is not among {policies}")
    count = values[by][policies[0]].shape[1]
    episodes, windows = _draws(_windows(results, by))
    oracles = set(results.loc[results["oracle"].astype(bool), "policy"])
    rows = {p: {"policy": p, "oracle": p in oracles} for p in policies}
    seeds = results.groupby("policy")["training_seed"].nunique()  # 0 for heuristics
    samples = {}
    for name, of_policy in values.items():
        for i, (policy, matrix) in enumerate(of_policy.items()):
            drawn = resampled_means(matrix, episodes, np.random.default_rng([1, i]))
            if name == by:
                samples[policy] = drawn if not larger_is_better else -drawn
            rows[policy] |= {"training_seeds": seeds[policy], "episodes": count}
            rows[policy]["windows"] = windows
            rows[policy] |= _interval(name, matrix.mean(), drawn)
    for policy, row in rows.items():
        better = [
            np.percentile(samples[policy] - samples[other], 2.5) > 0.0
            for other in policies
            if other != policy and other not in oracles
        ]
        row["rank"] = pd.NA if row["oracle"] else 1 + sum(better)
        if reference is not None:
            sign = -1 if larger_is_better else 1
            difference = sign * (samples[policy] - samples[reference]) + 0.0  # no -0
            mean = values[by][policy].mean() - values[by][reference].mean()
            row |= _interval("difference", mean, difference)
        if gap is not None:
            three = (policy, *gap)
            row |= _gap_closed([values[by][p].mean() for p in three], [samples[p] for p in three])
    result = pd.DataFrame(rows.values()).sort_values(
        by, ascending=not larger_is_better, ignore_index=True
    )
    ranks = result["rank"].dropna()
    result["tied"] = result["rank"].isin(ranks[ranks.duplicated(keep=False)])
    result.attrs = {"by": by, "reference": reference, "gap": gap}
    return result


def best(
    results: pd.DataFrame, policies: Sequence[str], by: str, larger_is_better: bool = False
) -> str:
    """Which of some policies has the best mean, over the episodes that all of them played."""
    values = _values(results[results["policy"].isin(policies)], by)
    means = {policy: matrix.mean() for policy, matrix in values.items()}
    return (max if larger_is_better else min)(means, key=means.get)


def ratios(results: pd.DataFrame, metric: str, pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The mean of one policy over that of another, on the same draws of episodes.

    Args:
        results: rows as in results.csv; episodes that not all policies played do not count.
        metric: a column, positive.
        pairs: (policy, reference).

    Returns:
        one row per pair: policy, reference, ratio, and its 95 % interval, ratio_low and ratio_high.

    Raises:
        ValueError: for an unknown policy, and if no episode is common to all.
    """
    values, rows = _values(results, metric), []
    if unknown := {name for pair in pairs for name in pair} - set(values):
        raise ValueError(f"{sorted(unknown)} are not among the policies {list(values)}")
    episodes, _ = _draws(_windows(results, metric))
    drawn = {
        policy: resampled_means(matrix, episodes, np.random.default_rng([1, i]))
        for i, (policy, matrix) in enumerate(values.items())
    }
    for policy, reference in pairs:
        mean = values[policy].mean() / values[reference].mean()
        share = _interval("ratio", mean, drawn[policy] / drawn[reference])
        rows.append({"policy": policy, "reference": reference, **share})
    return pd.DataFrame(rows)


def markdown(result: pd.DataFrame, metrics: Sequence[str]) -> str:
    """A table as Markdown, with its caption."""
    header, rows = _cells(result, metrics)
    align = ["---"] * 2 + ["---:"] * (len(header) - 2)
    return f"{markdown_lines(header, rows, align)}\n\n{caption(result)}\n"


def show(
    result: pd.DataFrame, metrics: Sequence[str], title: str, console: Console | None = None
) -> None:
    """Print a table."""
    header, rows = _cells(result, metrics)
    pretty = Table(title=title, caption=caption(result), caption_justify="left", box=SIMPLE_HEAD)
    many = len(header) > _WIDE
    for i, name in enumerate(header):
        name = name.replace("_", "_\n").replace(" ", "\n") if many else name
        pretty.add_column(name, justify="left" if i < 2 else "right", no_wrap=i == 1)
    for cells in rows:
        pretty.add_row(*(cell.replace(" [", "\n[") for cell in cells))
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = max(120, 13 * len(header))  # a file has no width of its own
    console.print(pretty)


def caption(result: pd.DataFrame) -> str:
    """What the numbers are."""
    counts = sorted(set(result["training_seeds"]) - {0})
    plural = "" if counts == [1] else "s"
    over = f"{' or '.join(map(str, counts))} training seed{plural} and " if counts else ""
    drawn = result.attrs.get("over", "episodes")
    kind = result.attrs.get("interval", "bootstrap")
    text = f"Mean [95 % {kind} interval] over {over}{result['episodes'].iloc[0]} {drawn}"
    windows = result["windows"].iloc[0]
    text += "." if windows == result["episodes"].iloc[0] else f" in {windows} windows."
    if kind == "bootstrap" and counts and max(counts) > 1:
        text += " Over seeds, it is as wide as Student's t asks for."
    if reference := result.attrs["reference"]:
        text += f" vs {reference}: paired difference in {result.attrs['by']}."
    if gap := result.attrs["gap"]:
        text += f" gap_closed: share of the way from {gap[0]} to {gap[1]}, likewise."
    if result["tied"].any():
        text += " Equal ranks (=) are ties."
    if result["oracle"].any():
        text += " Oracles know what no deployment does."
    return text


def _cells(result: pd.DataFrame, metrics: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    columns = {metric: metric for metric in metrics}
    if result.attrs["reference"]:
        columns["difference"] = f"vs {result.attrs['reference']}"
    if result.attrs["gap"]:
        columns["gap_closed"] = "gap_closed"
    rows = []
    for _, row in result.iterrows():
        rank = "oracle" if row["oracle"] else f"{row['rank']}{'=' if row['tied'] else ''}"
        cells = []
        for column in columns:
            mean, low, high = (number(row[f"{column}{end}"]) for end in ("", "_low", "_high"))
            cells.append(f"{mean} [{low}, {high}]" if mean != "nan" else "-")
        rows.append([rank, row["policy"], *cells])
    return ["rank", "policy", *columns.values()], rows


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def _interval(name: str, mean: float, drawn: np.ndarray) -> dict[str, float]:
    low, high = np.percentile(drawn, [2.5, 97.5])
    # Of equal values, the mean may be beside both by rounding.
    return {name: mean, f"{name}_low": min(low, mean), f"{name}_high": max(high, mean)}


def _gap_closed(means: Sequence[float], samples: Sequence[np.ndarray]) -> dict[str, float]:
    """Of the first of three policies, on the way from the second to the third."""
    (mean, floor, ceiling), (drawn, low, high) = means, samples
    width = low - high  # samples are smaller where they are better
    if np.percentile(width, 2.5) <= 0.0:
        return dict.fromkeys(("gap_closed", "gap_closed_low", "gap_closed_high"), np.nan)
    shares = (low - drawn)[width > 0.0] / width[width > 0.0]
    return _interval("gap_closed", (mean - floor) / (ceiling - floor), shares)


def _draws(windows: np.ndarray) -> tuple[np.ndarray, int]:
    """Weights of the episodes in each resample, [R, E], and the number of different windows."""
    _, window, sizes = np.unique(windows, return_inverse=True, return_counts=True)
    count = len(sizes)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)[:, window]
    return drawn / drawn.sum(axis=1, keepdims=True), count


def _windows(results: pd.DataFrame, metric: str) -> np.ndarray:
    """The window of every episode that is common to all, [E]; its own where none is told."""
    seeds = _by_seed(results, metric).columns
    if "window" not in results:
        return seeds.to_numpy()
    return results.drop_duplicates("episode_seed").set_index("episode_seed")["window"][seeds]


def _values(results: pd.DataFrame, metric: str) -> dict[str, np.ndarray]:
    """{policy: [S, E]} over the episodes that all policies and training seeds have in common."""
    common = _by_seed(results, metric).groupby(level="policy", sort=False)
    return {policy: rows.to_numpy(float) for policy, rows in common}


def _by_seed(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row per policy and training seed, one column per episode that all of them played."""
    by_seed = results.assign(training_seed=results["training_seed"].fillna(-1)).pivot(
        index=["policy", "training_seed"], columns="episode_seed", values=metric
    )
    common = by_seed.dropna(axis="columns")
    if common.shape[1] == 0:
        raise ValueError("no episode was played by all policies: evaluate them again")
    return common
