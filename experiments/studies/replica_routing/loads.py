"""Latencies over load: the command `loads`, and the plot of what it played."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from marlserve.experiments.harness.evaluate import held_out_seeds, play_all
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.harness.run import write
from marlserve.experiments.reports import statistics
from marlserve.experiments.reports.plot import new_figure, save
from marlserve.experiments.studies.options import NONE, SourceFlags, asked
from marlserve.experiments.studies.study import Study

FILE = "loads.csv"
METRICS = ("mean_ttft_s", "mean_e2e_s")
_STANDARD = (
    *("round_robin", "least_requests", "session_affinity", "cache_aware", "scorers"),
    *("kv_cost", "latency_predictor", "marginal_cost"),
)


@dataclass(frozen=True)
class Loads:
    """Play policies at several loads, and draw their latencies over it.

    Writes loads.csv and plots/over_load.png, which `plot` draws again.
    """

    preset: str = ""
    loads: tuple[float, ...] = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # shares of sustainable_per_s
    policies: tuple[str, ...] = _STANDARD  # heuristics by name, or folders of runs
    episodes: int = 16  # to play with each policy at each load
    out: Path = RUNS  # where all runs are
    source: SourceFlags = NONE
    problem: Any = None

    def run(self, study: Study) -> None:
        held_out_seeds(self.episodes)
        tested = asked(replace(study.presets[self.preset], split="test"), self)
        parts = []
        for load in self.loads:
            config = replace(tested, load=(load, load))
            study.check(self.preset, config, "loads")
            contestants = study.contestants(config, self.policies)
            rows = play_all(contestants, study.problem, self.episodes, study.copies(config))
            parts.append(rows.assign(load=load))
        folder = study.folder(self.out, self.preset, tested)
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / FILE, pd.concat(parts, ignore_index=True).to_csv(index=False))
        print(f"all results: {folder / FILE}\nplot: {draw(folder)}")


def draw(folder: Path, metrics: Sequence[str] = METRICS) -> Path:
    """The means of loads.csv over load and their 95 % intervals over episodes, a line for each
    policy; plots/over_load.png."""
    rows = pd.read_csv(folder / FILE)
    figure, panels = new_figure(columns=len(metrics), height=3.6)
    for axes, metric in zip(panels, metrics, strict=True):
        bounds = statistics.bounds_of(rows[metric])
        for i, (policy, own) in enumerate(rows.groupby("policy", sort=False)):
            found = {
                load: statistics.of_draws(values.to_numpy(), bounds)
                for load, values in own.groupby("load")[metric]
            }
            low, high = ([getattr(x, end) for x in found.values()] for end in ("low", "high"))
            axes.plot(list(found), own.groupby("load")[metric].mean(), f"C{i}", label=policy)
            axes.fill_between(list(found), low, high, color=f"C{i}", alpha=0.12, lw=0)
        axes.set(xlabel="load", ylabel=metric, yscale="log")
        axes.grid(alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize="x-small")
    return save(figure, folder, "over_load.png")
