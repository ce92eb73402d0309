"""What is compared on the routing problem."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from marlserve.envs.replica_routing import BASELINES, PRESETS
from marlserve.envs.replica_routing.config import CHOICES
from marlserve.experiments.harness.results import read_results
from marlserve.experiments.reports import plot
from marlserve.experiments.reports.pareto import pareto
from marlserve.experiments.studies import runs
from marlserve.experiments.studies.replica_routing import loads
from marlserve.experiments.studies.replica_routing.fault_timeline import fault_timeline
from marlserve.experiments.studies.replica_routing.settings import settings
from marlserve.experiments.studies.study import Candidate, Settings, Study
from marlserve.policies.checkpoint import CheckpointPolicy

_FAR = 2.0  # times the best mean
_BY_DEFAULT = ("least_requests", "kv_cost", "marginal_cost")  # in the timeline of a fault
_PERCENTILES = ("p50", "p90", "p95", "p99")


class ReplicaRouting(Study):
    """Played is the split "test": other conversations, or the other half of a file."""

    problem = "replica_routing"
    presets = PRESETS
    candidates = {"ppo": Candidate("ppo"), "dqn": Candidate("dqn")}
    metrics = (
        "mean_e2e_s",
        "p99_e2e_s",
        "mean_ttft_s",
        "p99_ttft_s",
        "mean_tpot_s",
        "goodput",
        "prefix_hit_share",
        "failed",
    )
    rank_by = {"source": "mean_source_reward"}
    references = tuple(name for name, x in BASELINES.items() if not x.oracle)

    episodes = 50
    choices = CHOICES
    aliases = {"episodes": ("--n-eval-episodes",)}

    def settings(
        self, preset: str, candidate: str, problem: Any, seed: int, env_steps: int | None
    ) -> Settings:
        return settings(preset, candidate, env_steps)

    def larger_ranks(self, problem: Any) -> bool:
        return problem.reward in self.rank_by

    def check_run(self, folder: Path, problem: Any) -> None:
        if problem.view == "source":
            return  # its networks play what they were trained on
        if not runs.is_policy_file(folder):
            CheckpointPolicy(folder, num_components=problem.num_replicas)

    def draw(self, out: Path, folder: Path, problem: Any, policies: Sequence[str]) -> list[Path]:
        by, drawn = self.ranks_by(problem), []
        if plot.knows(folder, by):
            drawn.append(plot.learning_curves(folder, by, log=not self.larger_ranks(problem)))
        if (folder / "results.csv").exists():
            for name in ("ttft", "e2e"):
                shown = tuple(f"{p}_{name}_s" for p in _PERCENTILES)
                drawn.append(plot.bars(folder, shown, f"{name}_percentiles"))
            rows = _near(read_results(folder / "results.csv"), ("mean_e2e_s", "mean_ttft_s"))
            drawn.append(pareto(folder, rows, "mean_e2e_s", "mean_ttft_s", larger_is_better=False))
            rows = rows.assign(imbalance=1.0 - rows["jain_index"])
            drawn.append(pareto(folder, rows, "imbalance", "prefix_hit_share", name="hit_share"))
        if (folder / loads.FILE).exists():
            drawn.append(loads.draw(folder))
        if problem.change_every_s or problem.drain:
            players = self.contestants(problem, policies or _BY_DEFAULT)
            drawn += filter(None, [fault_timeline(folder, problem, players)])
        return drawn


def _near(rows: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Without the policies that are far from the best deployable one in one of the metrics."""
    means = rows.groupby("policy")[list(metrics)].mean()
    best = means[~rows.groupby("policy")["oracle"].any()].min()
    near = (means <= _FAR * best).all(axis=1)
    return rows[rows["policy"].isin(means.index[near])]


STUDY = ReplicaRouting()
