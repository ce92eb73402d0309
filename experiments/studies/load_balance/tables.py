"""All presets in one file: overview.md, with training_cost.csv and plots/overview.png beside it.

`write_overview` makes it of what `compare` leaves: see `overview`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from marlserve.envs.load_balance import BASELINES, PRESETS
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.harness.run import write
from marlserve.experiments.reports.markdown import markdown_lines
from marlserve.experiments.reports.table import number, table
from marlserve.experiments.studies.load_balance import paper
from marlserve.experiments.studies.load_balance.overview import (
    ENDS,
    Results,
    differences,
    order,
    read_all,
    training_cost,
)
from marlserve.experiments.studies.load_balance.plots import overview
from marlserve.experiments.studies.load_balance.study import STUDY
from marlserve.experiments.studies.study import Study

LATENCY, P99, JAIN, REJECTED = STUDY.metrics


@dataclass(frozen=True)
class Overview:
    """Sum up what `compare` left of all presets at both ends of their loads: overview.md."""

    out: Path = RUNS  # where all runs are

    def run(self, study: Study) -> None:
        if (written := write_overview(self.out)) is None:
            raise ValueError(f"there are no results at the ends of a preset's load in {self.out}")
        print(f"overview: {written}")


def write_overview(out: Path) -> Path | None:
    """Write overview.md and its files; None, and nothing, if there are no such results.

    Raises:
        ValueError: if a file of results or progress is broken, or policies have not played the
            same episodes.
    """
    results, folder = read_all(out), Path(out) / STUDY.problem
    if not results:
        return None
    policies, against = order(results), differences(results)
    costs = training_cost(out, results)
    write(folder / "training_cost.csv", costs.to_csv(index=False))
    picture = overview(folder, against, PRESETS)
    parts = ["# Load balancing: an overview"]
    for end in ENDS:
        reached = {
            preset: table(rows, [LATENCY, P99, JAIN, REJECTED, "completed"])
            for (preset, at), rows in results.items()
            if at == end
        }
        if reached:
            latencies = _latencies(reached, end, policies)
            parts += [f"## At the {end} load", latencies, _caption(reached)]
    parts += ["## Against sed", _against(against, policies), _AGAINST]
    parts += [f"![Mean latency against sed]({picture.relative_to(folder)})"]
    if len(costs):
        parts += ["## Cost of training", _costs(costs), _COSTS]
    if compared := _ratios(results):
        parts += ["## Beside the paper", compared, _PAPER]
    write(folder / "overview.md", "\n\n".join(parts) + "\n")
    return folder / "overview.md"


def _latencies(reached: dict[str, pd.DataFrame], end: str, policies: Sequence[str]) -> str:
    columns = {}
    for preset, rows in reached.items():
        load, cells = PRESETS[preset].load[ENDS.index(end)], {}
        for _, row in rows.iterrows():
            mean, low, high = (number(1000 * row[f"{LATENCY}{x}"]) for x in ("", "_low", "_high"))
            share = row[REJECTED] / max(row[REJECTED] + row["completed"], 1)
            cells[row["policy"]] = (
                f"{mean} [{low}, {high}] / {number(1000 * row[P99])} / {row[JAIN]:.3f} / "
                f"{100 * share:.1f} %"
            )
        columns[f"{preset}, load {load:g}"] = cells
    return _markdown(columns, policies)


def _against(against: pd.DataFrame, policies: Sequence[str]) -> str:
    columns: dict[str, dict[str, str]] = {}
    for row in against.itertuples():
        name = f"{row.preset}, load {PRESETS[row.preset].load[ENDS.index(row.end)]:g}"
        columns.setdefault(name, {})[row.policy] = percent(row.ratio, row.ratio_low, row.ratio_high)
    kept = [name for name in policies if name in set(against["policy"])]
    return _markdown(columns, kept)


def percent(*shares: float) -> str:
    """ "-4.0 [-5.1, -2.9]" of ratios 0.96, 0.949, 0.971."""
    mean, low, high = (f"{round(100 * (x - 1), 1) + 0.0:+,.1f}" for x in shares)
    return f"{mean} [{low}, {high}]"


def _costs(costs: pd.DataFrame) -> str:
    columns: dict[str, dict[str, str]] = {}
    for row in costs.itertuples():
        cell = f"{row.env_steps:,.0f} / {row.cpu_seconds:,.0f} s"
        columns.setdefault(row.preset, {})[row.policy] = cell
    return _markdown(columns, list(dict.fromkeys(costs["policy"])))


def _ratios(results: Results) -> str:
    """Of `qmix` over heuristics, ours and the paper's; empty where it did not play."""
    found = []
    for preset in paper.COMPLETION_MS:
        own = {end: results[preset, end] for end in ENDS if (preset, end) in results}
        own = {end: rows for end, rows in own.items() if paper.QMIX in set(rows["policy"])}
        if own:
            published = paper.published(preset).items()
            found += [[preset, name, *(f"{x:.2f}" for x in values)] for name, values in published]
        for end, rows in own.items():
            shown = paper.ours(rows)[["ratio", "ratio_low", "ratio_high"]].to_numpy()
            load = PRESETS[preset].load[ENDS.index(end)]
            cells = [f"{x:.2f} [{low:.2f}, {high:.2f}]" for x, low, high in shown]
            found.append([preset, f"here, load {load:g}", *cells])
    header = ["scale", "measured", *(f"QMIX/{name}" for name in paper.REFERENCES)]
    return markdown_lines(header, found) if found else ""


def _markdown(columns: dict[str, dict[str, str]], policies: Sequence[str]) -> str:
    shown = [f"{name} (oracle)" if _oracle(name) else name for name in policies]
    rows = [
        [x, *(cells.get(y, "-") for cells in columns.values())]
        for x, y in zip(shown, policies, strict=True)
    ]
    return markdown_lines(["policy", *columns], rows)


def _oracle(policy: str) -> bool:
    return policy in BASELINES and BASELINES[policy].oracle


def _caption(reached: dict[str, pd.DataFrame]) -> str:
    seeds = sorted({n for rows in reached.values() for n in rows["training_seeds"]} - {0})
    episodes = sorted({n for rows in reached.values() for n in rows["episodes"]})
    over = f"{' or '.join(map(str, seeds))} training seeds and " if seeds else ""
    return (
        "Latency of completed jobs in ms, mean [95 % bootstrap interval] / mean of the episodes' "
        "99th percentiles / Jain's index of the servers' load / share of the completed or rejected "
        f"jobs that were rejected; over {over}{' or '.join(map(str, episodes))} held-out episodes. "
        "Jobs under way at the end of an episode are in none of these but Jain's index. Learned "
        "policies come first, then heuristics, then oracles, each by mean rank. `s_sac`, after the "
        "other learned ones, plays a system with one balancer, which sees all flows: compare it "
        "with the oracle `global_sed`."
    )


_AGAINST = (
    "Mean latency against that of `sed` in %, [95 % interval] of pairs on the same episodes: less "
    "than 0 is faster, an interval with 0 is a tie. `s_sac` is against `global_sed`."
)
_COSTS = (
    "Env-steps, each with a decision of every balancer, and CPU-seconds of the training process, "
    "means over training seeds. Policies train on all loads of a preset at once."
)
_PAPER = (
    f"Ratios of mean latencies, less than 1 where QMIX is faster. Paper: {paper.CITATION}. "
    "Hardware and traffic differ: at most ratios compare. So do the policies: ours is feed-forward "
    "and learns in simulation, from `excess_slowdown`, which a balancer cannot observe; theirs is "
    "a GRU network that learns on a testbed, from a fairness that it can. Means here are over all "
    "jobs, theirs at moderate scale over the wiki pages alone. Theirs are of 5 runs, with standard "
    "deviations of up to 63 % of the mean for QMIX and SED at moderate scale, so that none of the "
    "gaps between the two is significant there at 5 % (Welch's t); at large scale they are, and "
    "QMIX is slower. As `traces.wikipedia` is calibrated, their moderate rates use 62, 82, 83 and "
    "95 % of the cores: 690.9 and 696.5/s are nearest to load 0.8, 796.3/s to load 0.95. ECMP is "
    "`random` here. Rejected jobs have no latency, which flatters WCMP and ECMP here."
)
