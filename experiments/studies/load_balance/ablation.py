"""What makes the difference: an ablation of a preset's standard experiment.

Every variation (see `variations`) is trained for as many env-steps, with the other
settings as they are, and plays the held-out episodes of the preset, over its range of loads. What
counts is its mean latency over that of `sed`, and over that of the standard variation, on the same
episodes.

Every budget has folders of its own. Runs are in <out>/ablation/env_steps=<n>/, results in
<out>/load_balance/<preset>/ablation/<algorithm>,env_steps=<n>/: results.csv, table.md and, for
every factor, plots/ablation_<factor>.png.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pandas as pd

from marlserve.envs.load_balance import REWARDS
from marlserve.experiments.harness.evaluate import experiments_of, held_out_seeds, play_all
from marlserve.experiments.harness.experiment import RUNS, label
from marlserve.experiments.harness.jobs import train_all
from marlserve.experiments.harness.results import merge_results, read_results
from marlserve.experiments.harness.run import write
from marlserve.experiments.reports.markdown import markdown_lines
from marlserve.experiments.reports.table import number, ratios, table
from marlserve.experiments.studies.load_balance.plots import ablation
from marlserve.experiments.studies.load_balance.study import STUDY
from marlserve.experiments.studies.load_balance.tables import percent
from marlserve.experiments.studies.load_balance.variations import (
    FACTORS,
    REWARDS_COMPARED,
    STANDARD,
    Variation,
    variations,
)
from marlserve.experiments.studies.study import Study

LATENCY, P99, JAIN, _ = STUDY.metrics


@dataclass(frozen=True)
class Ablate:
    """Change one thing at a time, train, play, and show what makes the difference to sed.

    What is trained already is not trained again; results of other factors and seeds with as many
    env-steps are kept, and shown with the new ones.
    """

    preset: str = "degraded"  # whose standard experiment is changed
    algorithm: str = "qmix"  # what to train
    factors: tuple[str, ...] | None = None  # to change; None: all the algorithm has
    rewards: tuple[str, ...] = REWARDS_COMPARED  # to learn from, for the factor reward
    seeds: tuple[int, ...] = (0, 1, 2)  # of the trainings
    episodes: int = 100  # to play with each policy
    env_steps: int = 100_000  # of every training
    jobs: int = 1  # trainings side by side
    out: Path = RUNS  # where all runs are

    CHOICES: ClassVar[dict[str, Sequence[str]]] = {
        "factors": tuple(FACTORS),
        "rewards": tuple(REWARDS),
    }

    def run(self, study: Study) -> None:
        held_out_seeds(self.episodes)  # a bad number is an error before the training
        found = variations(self.preset, self.algorithm, self.factors, self.rewards)
        unique = {x.name: x for of_factor in found.values() for x in of_factor.values()}
        experiments = {
            (name, seed): x.experiment(self.preset, self.algorithm, seed, self.env_steps)
            for name, x in unique.items()
            for seed in self.seeds
        }
        runs = self.out / "ablation" / f"env_steps={self.env_steps}"
        folders = train_all(list(experiments.values()), runs, self.jobs)
        trained = dict(zip(experiments, folders, strict=True))
        budget = label(self.algorithm, {"env_steps": self.env_steps})
        folder = self.out / study.problem / self.preset / "ablation" / budget
        # The Config of the folder; policies that meet another one say so in their names.
        standard = replace(study.presets[self.preset], split="test")
        for played in dict.fromkeys(x.played for x in unique.values()):
            contestants = []
            for x in (x for x in unique.values() if x.played == played):
                (rule,) = study.contestants(played, [x.heuristic])
                own = study.contestants(played, [trained[x.name, seed] for seed in self.seeds])
                contestants.append(replace(rule, name=x.reference))
                contestants += [replace(policy, name=x.name) for policy in own]
            unlike = list({(x.name, x.training_seed): x for x in contestants}.values())
            rows = play_all(unlike, study.problem, self.episodes, study.copies(played))
            merge_results(
                folder / "results.csv", rows, study.problem, standard, experiments_of(unlike)
            )
        title = f"{self.algorithm} on {self.preset}, {self.env_steps:,} env-steps"
        shown = variations(self.preset, self.algorithm, None, tuple(REWARDS))
        for picture in report(folder, shown, title):
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
    rows = read_results(folder / "results.csv")
    there, tables, pictures, parts = set(rows["policy"]), [], [], [f"# {title}"]
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
        (standard,) = (x for x in known.values() if x.name == STANDARD)
        pictures.append(ablation(folder, factor, result, standard.heuristic))
        same = [x.name for x in known.values() if x.played == standard.played and x != standard]
        against = ratios(of_pairs, LATENCY, [(name, STANDARD) for name in same])
        tables.append(table(of_pairs, STUDY.metrics).set_index("policy"))
        parts += [f"## {factor}", _markdown(FACTORS[factor][0], result, against, tables[-1])]
    parts.append(_caption(tables))
    write(folder / "table.md", "\n\n".join(parts) + "\n")
    return pictures


def _markdown(name: str, result: pd.DataFrame, against: pd.DataFrame, reached: pd.DataFrame) -> str:
    header = [name, "mean latency, %", "vs standard, %", "mean ms", "p99 ms", "Jain"]
    seeds = reached.loc[result["policy"], "training_seeds"]
    unequal, cells = seeds.nunique() > 1, []
    vs_standard = {
        row.policy: percent(row.ratio, row.ratio_low, row.ratio_high)
        for row in against.itertuples()
    }
    for row in result.itertuples():
        policy = reached.loc[row.policy]
        mean, low, high = (number(1000 * policy[f"{LATENCY}{x}"]) for x in ("", "_low", "_high"))
        cells.append(
            [
                f"**{row.value}** (standard)" if row.standard else row.value,
                f"{percent(row.ratio, row.ratio_low, row.ratio_high)} vs {row.reference}",
                vs_standard.get(row.policy, "-"),
                f"{mean} [{low}, {high}]",
                number(1000 * policy[P99]),
                f"{policy[JAIN]:.3f}",
                *([str(policy["training_seeds"])] if unequal else []),
            ]
        )
    return markdown_lines([*header, *(["training seeds"] if unequal else [])], cells)


def _caption(tables: Sequence[pd.DataFrame]) -> str:
    def counts(name: str) -> str:
        return " or ".join(map(str, sorted({n for x in tables for n in x[name]} - {0})))

    return (
        "Mean latency against that of the reference, and of the standard variation where both play "
        "the same problem, in %, [95 % interval] of pairs on the same "
        f"{counts('episodes')} held-out episodes, over {counts('training_seeds')} training seeds: "
        "less than 0 is faster. All variations have the same number of env-steps, whatever the "
        "length of a step, and otherwise the standard one's settings, which were tuned for it "
        "alone."
    )
