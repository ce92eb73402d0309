"""What makes the difference: an ablation of a preset's standard experiment.

Every variation (see `load_balance_variations`) is trained for as many env-steps, with the other
settings as they are, and plays the held-out episodes of the preset, over its range of loads. What
counts is its mean latency over that of `sed` on the same episodes.

Runs are in <out>/ablation, for their budget is smaller than that of `compare`. Results are in
<out>/load_balance/<preset>/ablation/<algorithm>/: results.csv, table.md and, for every factor,
plots/ablation_<factor>.png.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from marlserve.envs.load_balance import BASELINES, PRESETS, REWARDS
from marlserve.experiments import compare, evaluate
from marlserve.experiments.base import RUNS
from marlserve.experiments.load_balance_plots import ablation
from marlserve.experiments.load_balance_settings import ALGORITHMS, METRICS, PROBLEM, study
from marlserve.experiments.load_balance_tables import lines, percent
from marlserve.experiments.load_balance_variations import (
    FACTORS,
    REWARDS_COMPARED,
    STANDARD,
    Variation,
    variations,
)
from marlserve.experiments.run import write
from marlserve.experiments.table import number, ratios, table

FactorName = Literal[tuple(FACTORS)]
RewardName = Literal[tuple(REWARDS)]
LATENCY, P99, JAIN, _ = METRICS


@dataclass(frozen=True)
class Ablate:
    """Change one thing at a time, train, play, and show what makes the difference to sed.

    What is trained already is not trained again; results of other factors and seeds are kept, and
    shown with the new ones.
    """

    preset: Literal[tuple(PRESETS)] = "degraded"  # whose standard experiment is changed
    algorithm: Literal[tuple(ALGORITHMS)] = "qmix"  # what to train
    factors: tuple[FactorName, ...] | None = None  # to change; None: all the algorithm has
    rewards: tuple[RewardName, ...] = REWARDS_COMPARED  # to learn from, for the factor reward
    seeds: tuple[int, ...] = (0, 1)  # of the trainings
    episodes: int = 100  # to play with each policy
    env_steps: int = 150_000  # of every training
    jobs: int = 1  # trainings side by side
    out: Path = RUNS  # where all runs are

    def run(self, preset: str) -> None:
        evaluate.held_out_seeds(self.episodes)  # a bad number is an error before the training
        found = variations(preset, self.algorithm, self.factors, self.rewards)
        unique = {x.name: x for of_factor in found.values() for x in of_factor.values()}
        experiments = {
            (name, seed): variation.experiment(preset, self.algorithm, seed, self.env_steps)
            for name, variation in unique.items()
            for seed in self.seeds
        }
        folders = compare.train_all(list(experiments.values()), self.out / "ablation", self.jobs)
        trained = dict(zip(experiments, folders, strict=True))
        folder = self.out / PROBLEM / preset / "ablation" / self.algorithm
        for played in dict.fromkeys(x.played for x in unique.values()):
            contestants = {}
            for variation in (x for x in unique.values() if x.played == played):
                heuristic = BASELINES[variation.reference.split(",")[0]]
                contestants[variation.reference, None] = heuristic
                for seed in self.seeds:
                    (policy,) = study().contestants([trained[variation.name, seed]]).values()
                    contestants[variation.name, seed] = policy
            rows = compare.play_all(contestants, PROBLEM, played, self.episodes, study().num_envs)
            evaluate.merge_results(folder / "results.csv", rows)
        title = f"{self.algorithm} on {preset}, {self.env_steps:,} env-steps"
        for picture in report(folder, variations(preset, self.algorithm, None, REWARDS), title):
            print(f"plot: {picture}")
        print(f"table: {folder / 'table.md'}")


def report(folder: Path, found: dict[str, dict[str, Variation]], title: str) -> list[Path]:
    """Write table.md and draw the plots of what is in results.csv; the plots.

    Args:
        folder: of results.csv.
        found: all variations that may be there; a factor of which only the standard one is there
            is left out.
        title: of the table.

    Raises:
        ValueError: if there are no results of the standard one.
    """
    rows = evaluate.read_results(folder / "results.csv")
    there, pictures, parts = set(rows["policy"]), [], [f"# {title}"]
    if STANDARD not in there:
        raise ValueError(f"{folder / 'results.csv'} has no policy {STANDARD!r}: it has {there}")
    for factor, of_factor in found.items():
        known = {value: x for value, x in of_factor.items() if x.name in there}
        if {x.name for x in known.values()} == {STANDARD}:
            continue
        pairs = [(x.name, x.reference) for x in known.values()]
        of_pairs = rows[rows["policy"].isin({name for pair in pairs for name in pair})]
        result = ratios(of_pairs, LATENCY, pairs)
        result = result.assign(value=list(known), standard=result["policy"] == STANDARD)
        pictures.append(ablation(folder, factor, result))
        reached = table(of_pairs, METRICS).set_index("policy")
        parts += [f"## {factor}", _markdown(FACTORS[factor][0], result, reached)]
    parts.append(_caption(rows))
    write(folder / "table.md", "\n\n".join(parts) + "\n")
    return pictures


def _markdown(name: str, result: pd.DataFrame, reached: pd.DataFrame) -> str:
    cells = []
    for row in result.itertuples():
        policy = reached.loc[row.policy]
        mean, low, high = (number(1000 * policy[f"{LATENCY}{x}"]) for x in ("", "_low", "_high"))
        cells.append(
            [
                f"**{row.value}** (standard)" if row.standard else row.value,
                f"{percent(row.ratio, row.ratio_low, row.ratio_high)} vs {row.reference}",
                f"{mean} [{low}, {high}]",
                number(1000 * policy[P99]),
                f"{policy[JAIN]:.3f}",
            ]
        )
    return lines([name, "mean latency, %", "mean ms", "p99 ms", "Jain"], cells)


def _caption(rows: pd.DataFrame) -> str:
    seeds = sorted(set(rows.dropna(subset="training_seed")["training_seed"]))
    return (
        "Mean latency against that of the reference in %, [95 % interval] of pairs on the same "
        f"{rows['episode_seed'].nunique()} held-out episodes, over training seeds "
        f"{', '.join(map(str, seeds))}: less than 0 is faster. All variations have the same number "
        "of env-steps, whatever the length of a step, and otherwise the standard one's settings."
    )
