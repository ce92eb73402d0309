"""The command `evaluate` of the load balancers, and what a policy was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import tyro

from marlserve.envs.load_balance import MODERATE, PRESETS, Config
from marlserve.experiments.harness import evaluate
from marlserve.experiments.harness.experiment import RUNS, Experiment
from marlserve.experiments.harness.run import read_experiment
from marlserve.experiments.reports.table import table
from marlserve.experiments.studies.load_balance.settings import ALGORITHMS, PROBLEM, study

_FIGURES = ("reward", "jain_index", "mean_latency_s", "p95_latency_s")


@dataclass(frozen=True)
class Evaluate:
    """Play held-out episodes with some policies, add them to results.csv and print a table.

    Learned policies keep their own way of acting (weight levels, step); the other flags say what
    they meet. With a model, that is what it was trained on, unless they change it.
    """

    model: Path | None = None  # the folder of a run, or what --save-path saved
    policy: tuple[str, ...] = ()  # names of heuristics, folders of runs, or checkpoints
    preset: Literal[tuple(PRESETS)] = "moderate"  # what to play; the other flags change it
    episodes: int = 100  # to play with each policy
    out: Path = RUNS  # where all runs are
    problem: Annotated[Config, tyro.conf.arg(name="")] = MODERATE

    def run(self, preset: str) -> None:
        names = [*([] if self.model is None else [self.model]), *self.policy]
        if not names:
            raise ValueError("there is nothing to play: give --model or --policy")
        evaluate.held_out_seeds(self.episodes)
        contestants = study().contestants(names)
        folder, rows = study().play(self.out, self.preset, self.problem, contestants, self.episodes)
        study().show(rows, self.problem, f"{PROBLEM}, {folder.name}")
        print(f"all results: {folder / 'results.csv'}")
        if self.model is not None:
            (name, seed), model = next(iter(contestants.items()))
            own = rows[(rows["policy"] == name) & (rows["training_seed"] == seed)]
            print(f"\n{self.model}: {name}, seed {seed}")
            print(figures(own, model.configure(self.problem).num_steps))


@dataclass(frozen=True)
class _Known:
    model: Path | None = None
    preset: str | None = None


def problem_of(argv: Sequence[str]) -> tuple[str, Config] | None:
    """The preset, and the Config, that the run of --model in `argv` was trained on.

    None without a model, and if --preset says what to play.

    Raises:
        ValueError: see `trained_on`.
    """
    known, _ = tyro.cli(_Known, args=argv, return_unknown_args=True, add_help=False)
    return None if known.model is None or known.preset is not None else trained_on(known.model)


def trained_on(folder: Path) -> tuple[str, Config]:
    """The preset and the Config of a run.

    What belongs to the algorithm alone, as the one balancer of "s_sac", is not part of it: others
    play the same problem with as many balancers as the preset has.

    Raises:
        ValueError: if the folder is no run, or one on another problem.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"model is {str(folder)!r}, which is not a folder; expected one of a run")
    stored = read_experiment(folder)
    try:
        experiment = Experiment(**stored)
    except TypeError as error:
        raise ValueError(f"{folder} has a broken experiment.json: {error}") from error
    if experiment.problem != PROBLEM:
        raise ValueError(f"{folder} is a run on {experiment.problem}; expected {PROBLEM}")
    preset = experiment.preset.partition(",")[0]
    preset = preset if preset in PRESETS else "moderate"
    standard, problem = PRESETS[preset], experiment.problem_config()
    _, _, own = ALGORITHMS.get(experiment.name.partition(",")[0], ("", {}, {}))
    return preset, replace(problem, **{name: getattr(standard, name) for name in own})


def figures(rows: pd.DataFrame, num_steps: int) -> str:
    """Reward, fairness and latency of one policy, with 95 % intervals over the episodes.

    Args:
        rows: of results.csv.
        num_steps: in an episode.
    """
    rows = rows.assign(reward=rows["return"] / num_steps)
    row = table(rows, _FIGURES).iloc[0]

    def shown(name: str, digits: int, scale: float = 1.0, unit: str = "") -> str:
        mean, *ends = (row[f"{name}{end}"] * scale for end in ("", "_low", "_high"))
        low, high = (f"{x:.{digits}f}" for x in ends)
        return f"{mean:.{digits}f}{unit} [{low}, {high}]"

    latency = ", ".join(
        f"{shown(f'{name}_latency_s', 1, 1000.0, ' ms')} {title}"
        for name, title in (("mean", "avg"), ("p95", "P95"))
    )
    return (
        f"Average reward: {shown('reward', 3)} per step, the agents' mean\n"
        f"Fairness (Jain): {shown('jain_index', 3)}\n"
        f"Latency: {latency}\n"
        f"Mean [95 % interval] over {len(rows)} episodes."
    )
