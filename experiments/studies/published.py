"""The published tables: what makes each of them, and what is kept.

experiments/results/<problem>/<preset>/ has the policy files of the runs in policies/, and for each
Config that was played, in a folder of its own if there are several, table.md, means.csv (what each
policy got in the mean, by training seed) and plots.
"""

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from marlserve.experiments.harness.evaluate import play_all
from marlserve.experiments.harness.experiment import DATA
from marlserve.experiments.harness.results import KEYS, read_results
from marlserve.experiments.harness.run import write
from marlserve.experiments.studies import runs
from marlserve.experiments.studies.evaluate import report
from marlserve.experiments.studies.export import Export
from marlserve.experiments.studies.study import Study

RESULTS = Path(__file__).parents[1] / "results"
POLICIES, MEANS = "policies", "means.csv"


@dataclass(frozen=True)
class Table:
    """One preset of a problem, with all that is published of it."""

    problem: str
    preset: str
    # Of experiments/<problem>.py, in order; {out} has the runs, {policies} the policy files.
    commands: tuple[str, ...]
    cpu_minutes: int  # that they take, about
    episodes: int  # that each policy plays
    plots: tuple[str, ...] = ()  # that are published
    shipped: tuple[str, ...] = ()  # candidates whose policy files are
    plays: str = ""  # policies that are published with another preset, "": its own

    @property
    def name(self) -> str:
        return f"{self.problem}/{self.preset}"

    @property
    def study(self) -> Study:
        return import_module(f"marlserve.experiments.studies.{self.problem}.study").STUDY

    @property
    def folder(self) -> Path:
        return RESULTS / self.problem / self.preset

    @property
    def policies(self) -> Path:
        return RESULTS / self.problem / (self.plays or self.preset) / POLICIES

    def lines(self, out: Path) -> list[list[str]]:
        """The words of the commands; one that was stopped goes on."""
        places = {"out": out, "policies": self.policies}
        split = [shlex.split(command.format(**places)) for command in self.commands]
        return [[*words, "--out", str(out)] for words in split]

    def prepare(self) -> None:
        """Look whether the recorded files that it plays are there.

        Raises:
            ValueError: if not.
        """
        try:
            self.study.check(self.preset, self.study.presets[self.preset], "compare")
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error

    def make(self, out: Path) -> None:
        """Carry out the commands, and publish what they leave.

        Raises:
            ValueError: if one fails.
        """
        for line in self.lines(out):
            script = f"marlserve.experiments.{self.problem}"
            print(f"$ python experiments/{self.problem}.py {shlex.join(line)}", flush=True)
            if status := subprocess.run([sys.executable, "-m", script, *line]).returncode:
                raise ValueError(f"{self.name}: {shlex.join(line)} ended with status {status}")
        self.publish(out)

    def publish(self, out: Path) -> None:
        """Copy what is to be kept of the runs into the folder of published results.

        Results are those of the policy files, not of the checkpoints: sums in another order have
        other last digits, and where one decides, the rest of an episode goes another way.
        """
        for candidate in self.shipped:
            for run in sorted((out / self.problem / self.preset / candidate).glob("seed_*")):
                to = self.policies / candidate / run.name
                shutil.rmtree(to, ignore_errors=True)
                to.parent.mkdir(parents=True, exist_ok=True)
                Export(model=run, to=to).run(self.study)
                _forget_folder(to / "policy.json")
        for folder, config in self._played():
            made = self.study.folder(out, self.preset, config)
            contestants = self.study.contestants(config, self._files(), self.study.seeds)
            report(self.study, out, self.preset, config, contestants, self.episodes)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made / "table.md", folder / "table.md")
            write(folder / MEANS, self._means(read_results(made / "results.csv"), config).to_csv())
            self._copy_plots(made, folder)
        self._copy_plots(out / self.problem / self.preset, self.folder)  # of the trainings

    def _files(self) -> list[Path]:
        return runs.runs_below(self.policies, self.problem)

    def _copy_plots(self, made: Path, folder: Path) -> None:
        for plot in self.plots:
            if (picture := made / "plots" / f"{plot}.png").exists():
                shutil.copyfile(picture, folder / picture.name)

    def check(self) -> pd.DataFrame:
        """Play the published policy files and all heuristics again: one row per Config, policy,
        training seed and metric, with both means and their relative difference. What was made by
        a search, such as rules with the best numbers, is not played.

        Raises:
            ValueError: if nothing is published.
        """
        if not self.policies.is_dir():
            made = f"{self.problem}/{self.plays or self.preset}"
            raise ValueError(f"{self.policies.parent} has no {POLICIES}/: make {made} first")
        parts = []
        for folder, config in self._played():
            contestants = self.study.contestants(config, [*self._files(), "all"], self.study.seeds)
            copies = self.study.copies(config)
            again = self._means(play_all(contestants, self.problem, self.episodes, copies), config)
            there = pd.read_csv(folder / MEANS, index_col=[0, 1])
            both = pd.concat(
                {"published": there.stack(), "again": again.stack()}, axis=1, join="inner"
            )
            both.index.names = [*KEYS, "metric"]
            parts.append(both.reset_index().assign(played=folder.relative_to(RESULTS).as_posix()))
        found = pd.concat(parts, ignore_index=True)
        scale = found["published"].abs().clip(lower=1e-9)
        return found.assign(difference=(found["again"] - found["published"]).abs() / scale)

    def _played(self) -> list[tuple[Path, Any]]:
        """Where results of each Config are published, and the Config."""
        standard = self.study.presets[self.preset]
        tested = replace(standard, split="test") if hasattr(standard, "split") else standard
        variants = self.study.variants(self.preset, tested)
        if len(variants) == 1:
            return [(self.folder, tested)]
        prefix = f"{self.preset},"
        names = [self.study.folder(Path(), self.preset, x).name for x in variants]
        return [
            (self.folder / name.removeprefix(prefix), x)
            for name, x in zip(names, variants, strict=True)
        ]

    def _means(self, rows: pd.DataFrame, config: Any) -> pd.DataFrame:
        """[policies and seeds, metrics]; the seed of a heuristic is -1."""
        metrics = list(dict.fromkeys([self.study.ranks_by(config), *self.study.shown(config)]))
        rows = rows.assign(training_seed=rows["training_seed"].fillna(-1).astype(int))
        return rows.groupby(KEYS, sort=True)[metrics].mean().astype(float)


def _forget_folder(file: Path) -> None:
    """Where the recorded files lay of what a policy was trained on is nobody else's."""
    if folder := os.environ.get(DATA):
        write(file, file.read_text().replace(folder, f"${DATA}"))


def _load_balance(preset: str, cpu_minutes: int) -> Table:
    commands = (
        f"compare --presets {preset} --algorithms ppo qmix --jobs 2",
        f"tune --preset {preset}",
    )
    plots, shipped = ("latency_percentiles", "learning_curves"), ("ppo", "qmix")
    return Table("load_balance", preset, commands, cpu_minutes, 100, plots, shipped)


_SOURCE = Table(
    "replica_routing",
    "source",
    (
        "compare --presets source --algorithms dqn --jobs 2 --episodes 30",
        "tune --preset source --only least_requests kv_cost --episodes 30",
    ),
    cpu_minutes=15,
    episodes=30,
    plots=("learning_curves",),
    shipped=("dqn",),
)


def _routing(preset: str, cpu_minutes: int, tune: str = "") -> Table:
    commands = (
        f"compare --presets {preset} --algorithms ppo --jobs 2",
        f"tune --preset {preset}{tune}",
    )
    return Table("replica_routing", preset, commands, cpu_minutes, 50, ("pareto",), ("ppo",))


_LUBLIN = Table(
    "job_scheduling",
    "lublin",
    ("compare --presets lublin --algorithms ppo ppo_backfill inspector inspector_backfill",),
    cpu_minutes=15,
    episodes=100,
    shipped=("ppo", "ppo_backfill", "inspector", "inspector_backfill"),
)
_LUBLIN_256 = Table(
    "job_scheduling",
    "lublin_256",
    ("evaluate --preset lublin_256 --models-dir {policies}",),
    cpu_minutes=5,
    episodes=100,
    plays="lublin",
)
_GRID = Table(
    "job_scheduling",
    "grid",
    ("compare --presets grid --algorithms ppo_backfill",),
    cpu_minutes=20,
    episodes=100,
    shipped=("ppo_backfill",),
)
_REALISTIC = Table(
    "kv_cache",
    "realistic",
    (
        "compare --presets realistic --algorithms ppo ppo_floor a2c dqn --evaluate-every 0 "
        "--episodes 60",
        "tune --preset realistic --episodes 60",
    ),
    cpu_minutes=35,
    episodes=60,
    plots=("pareto",),
    shipped=("ppo", "ppo_floor", "a2c", "dqn"),
)
_SERVICE_FLOOR = Table(
    "kv_cache",
    "service_floor",
    (
        "train --preset service_floor --algorithms ppo --settings multiplier_lr=0.0 "
        "--seeds 0 1 2 3 4",
        "compare --presets service_floor --algorithms ppo --episodes 60",
        "tune --preset service_floor --episodes 60",
        "evaluate --preset service_floor --episodes 60 --models-dir {out}/kv_cache/service_floor",
    ),
    cpu_minutes=30,
    episodes=60,
    plots=("pareto",),
    shipped=("ppo",),
)
TABLES = (
    _load_balance("moderate", 25),
    _load_balance("degraded", 25),
    _routing("mixed", 60),
    _routing("gateways", 80),
    _routing("unknown", 40, " --only adaptive_marginal_cost"),
    _routing("shifting", 60),
    _SOURCE,
    _LUBLIN,
    _LUBLIN_256,
    _GRID,
    _REALISTIC,
    _SERVICE_FLOOR,
)
