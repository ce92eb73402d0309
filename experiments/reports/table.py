"""The table of results: mean, 95 % interval, rank, and difference to a reference.

Intervals are those of `statistics`: over training seeds crossed with episodes, and of a heuristic
over episodes alone. All policies play the same episodes, so the difference of two policies is that
of pairs, on the same traffic, which is far more certain than either of them. Of fewer than
`statistics.FEWEST` seeds there is a range and no interval.

Ranks follow the means. Two policies are tied if the interval of their difference holds 0. From the
best mean on, a policy shares the rank of the one before it if it is tied with all that have that
rank; else its rank is one more than the number of policies before it. So whoever shares a rank is
tied with all who do, and nobody is before a better mean. Oracles, which are told what no deployment
knows, are not ranked.

Episodes that play the same window of a recording (column "window") are alike, and count as one: a
day that is played ten times is one day.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from marlserve.experiments.reports import statistics
from marlserve.experiments.reports.markdown import markdown_lines
from marlserve.experiments.reports.statistics import FEWEST, Bounds, Sample

_WIDE = 8  # columns, from which on their names are broken into lines


def table(
    results: pd.DataFrame,
    metrics: Sequence[str],
    *,
    by: str | None = None,
    larger_is_better: bool = False,
    reference: str | None = None,
    gap: tuple[str, str] | None = None,
    bounds: Mapping[str, Bounds] | None = None,
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
        bounds: (low, high) of metrics that no interval leaves; those that
            `statistics.bounds_of` finds in the values by default.

    Returns:
        columns policy, oracle, training_seeds (0 for heuristics), episodes, windows (how many
        differ), rank (NA for oracles), tied, `m`, `m_low` and `m_high` for every metric m, and
        difference, difference_low, difference_high, gap_closed, gap_closed_low, gap_closed_high;
        attrs "by", "reference" and "gap". If the two policies of the gap are tied, or the second
        one is worse, there is no gap to close, and its columns are NaN.

    Raises:
        ValueError: for an unknown metric, reference or policy of the gap, if no episode is common
            to all, and for a mean beside its bounds.
    """
    by = by or metrics[0]
    for name in {*metrics, by} - set(results):
        raise ValueError(f"there is no metric {name!r}; there are {sorted(results)}")
    samples = {name: _samples(results, name) for name in dict.fromkeys([*metrics, by])}
    ranking, policies = samples[by], list(samples[by])
    for name in [*([reference] if reference is not None else []), *(gap or ())]:
        if name not in policies:
            raise ValueError(f"the reference {name!r} is not among {policies}")
    limits = {name: statistics.bounds_of(results[name].dropna()) for name in samples}
    limits |= dict(bounds or {})
    windows = _windows(results, by)
    oracles = set(results.loc[results["oracle"].astype(bool), "policy"])
    seeds = results.groupby("policy")["training_seed"].nunique()  # 0 for heuristics
    rows = []
    for policy, own in ranking.items():
        row = {
            "policy": policy,
            "oracle": policy in oracles,
            "training_seeds": seeds[policy],
            "episodes": len(windows),
            "windows": len(np.unique(windows)),
        }
        for name, of_policy in samples.items():
            row |= statistics.mean(of_policy[policy], limits[name]).columns(name)
        if reference is not None:
            found = statistics.difference(own, ranking[reference], limits[by])
            row |= found.columns("difference")
        if gap is not None:
            floor, ceiling = (ranking[name] for name in gap)
            row |= _gap_closed(own, floor, ceiling, larger_is_better).columns("gap_closed")
        rows.append(row)
    result = pd.DataFrame(rows).sort_values(
        by, ascending=not larger_is_better, ignore_index=True, kind="stable"
    )
    ranked = [policy for policy in result["policy"] if policy not in oracles]
    ranks = pd.Series(
        statistics.ranks(
            ranked, lambda a, b: statistics.are_apart(ranking[a], ranking[b], limits[by])
        ),
        ranked,
    )
    result["rank"] = result["policy"].map(ranks).astype("Int64")
    result["tied"] = result["rank"].isin(ranks[ranks.duplicated(keep=False)])
    result.attrs = {"by": by, "reference": reference, "gap": gap}
    return result


def best(
    results: pd.DataFrame, policies: Sequence[str], by: str, larger_is_better: bool = False
) -> str:
    """Which of some policies has the best mean, over the episodes that all of them played."""
    samples = _samples(results[results["policy"].isin(policies)], by)
    means = {policy: sample.values.mean() for policy, sample in samples.items()}
    return (max if larger_is_better else min)(means, key=lambda policy: means[policy])


def ratios(results: pd.DataFrame, metric: str, pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The mean of one policy over that of another, paired by episode.

    Args:
        results: rows as in results.csv; episodes that not all policies played do not count.
        metric: a column, positive.
        pairs: (policy, reference).

    Returns:
        one row per pair: policy, reference, ratio, and its 95 % interval, ratio_low and ratio_high.

    Raises:
        ValueError: for an unknown policy, if no episode is common to all, and for a mean that is
            not positive.
    """
    samples = _samples(results, metric)
    if unknown := {name for pair in pairs for name in pair} - set(samples):
        raise ValueError(f"{sorted(unknown)} are not among the policies {list(samples)}")
    return pd.DataFrame(
        {"policy": policy, "reference": reference}
        | statistics.ratio(samples[policy], samples[reference]).columns("ratio")
        for policy, reference in pairs
    )


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
        pretty.add_row(*(x.replace(" [", "\n[").replace(" (", "\n(") for x in cells))
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = max(120, 13 * len(header))  # a file has no width of its own
    console.print(pretty)


def caption(result: pd.DataFrame) -> str:
    """What the numbers are."""
    counts = sorted(set(result["training_seeds"]) - {0})
    drawn = [f"{' or '.join(map(str, counts))} training seed{'s' * (counts != [1])}"]
    drawn = [*(drawn if counts else []), f"{result['episodes'].iloc[0]} episodes"]
    text = f"Mean [95 % interval] over {result.attrs.get('over') or ' and '.join(drawn)}"
    windows = result["windows"].iloc[0]
    text += "." if windows == result["episodes"].iloc[0] else f" in {windows} windows."
    if few := [count for count in counts if count < FEWEST]:
        which = "" if few == counts else f" of {' or '.join(map(str, few))}"
        text += (
            f" (lowest to highest of the seeds){which}: fewer than {FEWEST} seeds give no interval."
        )
    if reference := result.attrs["reference"]:
        text += f" vs {reference}: paired difference in {result.attrs['by']}."
    if gap := result.attrs["gap"]:
        text += f" gap_closed: share of the way from {gap[0]} to {gap[1]}, likewise."
    if result["tied"].any():
        text += " Equal ranks (=) are ties."
    if result["oracle"].any():
        text += " Oracles know what no deployment does."
    return text


def cell(values: Sequence[float], is_range: bool, write: Callable[[float], str]) -> str:
    """(mean, low, high) as "mean [low, high]", or "mean (low to high)" of a range; the mean alone
    of one seed, "-" if there is none."""
    mean, low, high = values
    if np.isnan(mean):
        return "-"
    if np.isnan(low) or (is_range and low == high):
        return write(mean)
    ends = f"({write(low)} to {write(high)})" if is_range else f"[{write(low)}, {write(high)}]"
    return f"{write(mean)} {ends}"


def _cells(result: pd.DataFrame, metrics: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    columns = {metric: metric for metric in metrics}
    beside: dict[str, tuple[str, ...]] = {}  # policies that a column is of, too
    if reference := result.attrs["reference"]:
        columns["difference"], beside["difference"] = f"vs {reference}", (reference,)
    if gap := result.attrs["gap"]:
        columns["gap_closed"], beside["gap_closed"] = "gap_closed", gap
    few = set(result.loc[result["training_seeds"].between(1, FEWEST - 1), "policy"])
    rows = []
    for _, row in result.iterrows():
        rank = "oracle" if row["oracle"] else f"{row['rank']}{'=' if row['tied'] else ''}"
        cells = []
        for column in columns:
            values = [row[f"{column}{end}"] for end in ("", "_low", "_high")]
            is_range = not few.isdisjoint((row["policy"], *beside.get(column, ())))
            cells.append(cell(values, is_range, number))
        rows.append([rank, row["policy"], *cells])
    return ["rank", "policy", *columns.values()], rows


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def _gap_closed(
    own: Sample, floor: Sample, ceiling: Sample, larger_is_better: bool
) -> statistics.Estimate:
    width = ceiling.values.mean() - floor.values.mean()
    if (width > 0.0) != larger_is_better:
        return statistics.Estimate(np.nan, np.nan, np.nan)
    return statistics.share(own, floor, ceiling)


def _windows(results: pd.DataFrame, metric: str) -> np.ndarray:
    """The window of every episode that is common to all, [E]; its own where none is told."""
    seeds = _by_seed(results, metric).columns
    if "window" not in results:
        return seeds.to_numpy()
    of_episode = results.drop_duplicates("episode_seed").set_index("episode_seed")["window"]
    return of_episode[seeds].to_numpy()


def _samples(results: pd.DataFrame, metric: str) -> dict[str, Sample]:
    """{policy: [S, W]} over the episodes that all policies and training seeds have in common."""
    windows, found = _windows(results, metric), {}
    for policy, rows in _by_seed(results, metric).groupby(level="policy", sort=False):
        values = statistics.by_window(rows.to_numpy(float), windows)
        found[policy] = Sample(values, learned=bool((rows.index.get_level_values(1) >= 0).any()))
    return found


def _by_seed(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row per policy and training seed, one column per episode that all of them played."""
    by_seed = results.assign(training_seed=results["training_seed"].fillna(-1)).pivot(
        index=["policy", "training_seed"], columns="episode_seed", values=metric
    )
    common = by_seed.dropna(axis="columns")
    if common.shape[1] == 0:
        raise ValueError("no episode was played by all policies: evaluate them again")
    return common
