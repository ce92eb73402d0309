"""What all policies reached on all presets, at both ends of their loads.

It is read from the files that `compare` leaves below runs/load_balance:

    <preset>,load=<x>-<x>/results.csv           what was played, at both ends of the preset's load
    <preset>/<policy>/seed_<n>/progress.jsonl   what the trainings cost
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from marlserve.envs.load_balance import BASELINES, PRESETS
from marlserve.experiments.harness.results import KEYS, read_results
from marlserve.experiments.harness.run import read_progress
from marlserve.experiments.reports.table import ratios
from marlserve.experiments.studies.load_balance.study import STUDY, at_load

ENDS = ("lower", "higher")  # of a preset's load
LATENCY = STUDY.metrics[0]
Results = dict[tuple[str, str], pd.DataFrame]  # {(preset, end): rows of results.csv}


def references_of(rows: pd.DataFrame) -> dict[str, str]:
    """{policy: the heuristic to compare it with}: `sed`, or for one that plays another system, with
    one balancer that sees all flows, the oracle `global_sed`."""
    systems = rows.drop_duplicates("policy").set_index("policy")["system"]
    named = systems.notna() & (systems != "")  # a file has nothing for no name
    return {policy: "global_sed" if other else "sed" for policy, other in named.items()}


def read_all(out: Path) -> Results:
    """All results at an end of a preset's load, of files that have all heuristics.

    Raises:
        ValueError: if a file is broken, or its policies have not played the same episodes.
    """
    found = {}
    for preset, config in PRESETS.items():
        for end, load in zip(ENDS, config.load, strict=True):
            played = at_load(replace(config, split="test"), load)
            file = STUDY.folder(out, preset, played) / "results.csv"
            if file.exists() and set(BASELINES) <= set((rows := read_results(file))["policy"]):
                found[preset, end] = rows
                _check_episodes(file, rows)
    return found


def _check_episodes(file: Path, rows: pd.DataFrame) -> None:
    played = rows.groupby(KEYS, dropna=False)["episode_seed"].agg(frozenset)
    longest = max(played, key=len)
    if fewer := {policy: len(x) for (policy, _), x in played.items() if x != longest}:
        raise ValueError(
            f"{file} has {len(longest)} episodes of some policies, and not the same ones of "
            f"others, which have {fewer}: play all with the same number of episodes"
        )


def order(results: Results) -> list[str]:
    """The policies: learned ones, those of them that play another system, heuristics, oracles,
    each by mean rank over all results."""
    ranks = {}
    kinds: dict[str, int] = {}
    references: dict[str, str] = {}
    for key, rows in results.items():
        by_policy = rows.groupby("policy")
        ranks[key] = by_policy[LATENCY].mean().rank()
        learned = by_policy["training_seed"].count() > 0
        kinds |= (1 - learned + by_policy["oracle"].any()).to_dict()  # 0, 1, 2
        references |= references_of(rows)
    mean = pd.DataFrame(ranks).mean(axis=1)

    def place(policy: str) -> tuple:
        return kinds[policy], references[policy] != "sed", mean[policy], policy

    return sorted(mean.index, key=place)


def differences(results: Results) -> pd.DataFrame:
    """Mean latency over that of the reference of each policy, paired by episode: see
    `table.ratios`; with the columns preset, end and learned, in the order of `order`."""
    parts, policies = [], order(results)
    for (preset, end), rows in results.items():
        references = references_of(rows)
        pairs = [(x, references[x]) for x in policies if references.get(x, x) != x]
        part = ratios(rows, LATENCY, pairs)
        learned = set(rows.loc[rows["training_seed"].notna(), "policy"])
        parts.append(part.assign(preset=preset, end=end, learned=part["policy"].isin(learned)))
    return pd.concat(parts, ignore_index=True)


def training_cost(out: Path, results: Results) -> pd.DataFrame:
    """Of every learner and preset that was played and whose runs are there: columns preset,
    policy, training_seeds, and means over those of env_steps, cpu_seconds and seconds."""
    played = pd.concat([rows.assign(preset=preset) for (preset, _), rows in results.items()])
    played = played.dropna(subset="training_seed")
    names, rows = ["env_steps", "cpu_seconds", "seconds"], []
    for (preset, policy), of_policy in played.groupby(["preset", "policy"], sort=False):
        seeds = sorted(of_policy["training_seed"].unique())
        runs = [Path(out, STUDY.problem, preset, policy, f"seed_{seed}") for seed in seeds]
        ends = [progress.iloc[-1] for run in runs if len(progress := read_progress(run))]
        if ends:
            mean = pd.DataFrame(ends)[names].astype(float).mean()
            row = {"preset": preset, "policy": policy, "training_seeds": len(ends)}
            rows.append(row | mean.to_dict())
    return pd.DataFrame(rows, columns=["preset", "policy", "training_seeds", *names])
