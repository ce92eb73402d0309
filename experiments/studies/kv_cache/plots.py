"""The plots of the KV cache: learning curves, comparison, Pareto front, timeline of actions."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from marlserve.envs.kv_cache import BASELINES, Config, Problem
from marlserve.experiments.harness.evaluate import held_out_seeds
from marlserve.experiments.harness.results import read_results
from marlserve.experiments.reports import plot
from marlserve.experiments.reports.pareto import pareto
from marlserve.experiments.reports.table import best
from marlserve.experiments.reports.timeline import ACTION, record, timeline
from marlserve.experiments.studies.study import Study

COMPARED = ("profit_usd_per_day", "success_rate", "mean_score", "energy_cost_usd")
# Of all requests that arrived: what was lost or denied cost no energy, and has no quality.
COST, VALUE = "energy_usd_per_1000_requests", "score_per_request"


def draw(study: Study, folder: Path, problem: Config, policies: Sequence[str]) -> list[Path]:
    """All that the files below a folder allow.

    Args:
        study: with the policies to choose from.
        folder: of the preset, with runs and perhaps results.
        problem: what the timeline plays: its first held-out episode.
        policies: of the timeline: heuristics, names of what was trained, or folders; if there are
            none, the best one whose runs are in the folder, load_aware and the oracle.

    Returns:
        the files.

    Raises:
        ValueError: if there is neither a run nor a result, and for an unknown policy.
    """
    by, drawn, results = study.ranks_by(problem), [], None
    if plot.knows(folder, by):
        drawn.append(plot.learning_curves(folder, by, log=False))
    if (folder / "results.csv").exists():
        results = read_results(folder / "results.csv")
        shown = tuple(dict.fromkeys((by, *COMPARED)))
        drawn.append(plot.panels(folder, shown, "performance_comparison", larger_is_better=True))
        drawn.append(pareto(folder, _per_request(results), COST, VALUE))
    if not policies and results is None and not drawn:
        raise ValueError(f"there is nothing to draw in {folder}: train or evaluate first")
    played = _recorded(study, folder, problem, policies or _chosen(folder, results, by))
    actions = max((rows.attrs["actions"] for rows in played.values()), key=len)
    drawn.append(
        timeline(
            folder,
            played,
            actions,
            step_s=problem.step_s,
            shared=("price_usd_per_mwh", "arrivals_per_s"),
            own=("utilisation", "waiting"),
        )
    )
    return drawn


def _per_request(results: pd.DataFrame) -> pd.DataFrame:
    cost = 1000.0 * results["energy_cost_usd"] / results["arrived"].clip(lower=1.0)
    return results.assign(**{COST: cost, VALUE: results["success_rate"] * results["mean_score"]})


def _chosen(folder: Path, results: pd.DataFrame | None, by: str) -> list[str]:
    """The best learned policy whose runs are here, and what to see it beside."""
    beside = ["load_aware", "oracle"]
    if results is None:
        return beside
    learned = results[results["training_seed"].notna()]["policy"].unique()
    learned = [name for name in learned if (folder / name).is_dir()]
    return [best(results, learned, by, larger_is_better=True), *beside] if learned else beside


def _recorded(
    study: Study, folder: Path, config: Config, policies: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """{policy: its steps in the first held-out episode}, of the first seed if it was trained."""
    played = {}
    for name in policies:
        runs = sorted(folder.glob(f"{name}/seed_*/experiment.json"))
        path = runs[0].parent if runs and name not in BASELINES else name
        (contestant,) = study.contestants(config, [path])
        copy = Problem(contestant.config)
        rows = record(copy, contestant.policy(copy), held_out_seeds(1)[0], _before, _after)
        rows.attrs["actions"] = copy.action_names
        played[Path(name).name] = rows
    return played


def _before(problem: Problem) -> dict[str, float]:
    return {"price_usd_per_mwh": problem.price[0]}


def _after(problem: Problem) -> dict[str, float]:
    step, config = problem.pool.step[0], problem.config
    return {
        "arrivals_per_s": step["arrived"] / config.step_s,
        "utilisation": step["busy_s"] / config.num_servers / config.step_s,
        "waiting": step["queue_s"] / config.step_s,
        ACTION: problem.last_actions[0],
    }
