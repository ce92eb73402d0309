"""What is compared on one problem, and how: the part that the experiments of all problems share.

A problem describes itself in a subclass of `Study`: what there is to train (presets, candidates and
their settings), what counts (metrics, references) and, by methods that do nothing here, what is its
own (files that must be there, plots). The commands do the rest: see `studies.commands`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from marlserve import envs
from marlserve.envs.base import settings_of
from marlserve.experiments.harness.contestant import Contestant
from marlserve.experiments.harness.experiment import Experiment, label
from marlserve.experiments.reports import plot, table
from marlserve.experiments.studies import runs


@dataclass(frozen=True)
class Candidate:
    """What is trained under one name: an algorithm with settings and fields of its own."""

    algorithm: str  # a module of marlserve.policies
    settings: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)  # of the Config
    system: str = ""  # if `fields` make another system, also where it is played: what that is


@dataclass(frozen=True)
class Settings:
    """How to train on a preset."""

    env_steps: int
    training: dict[str, Any] = field(default_factory=dict)  # settings of the algorithm
    env_runners: dict[str, Any] = field(default_factory=dict)  # of AlgorithmConfig.env_runners()
    evaluation: dict[str, Any] = field(default_factory=dict)  # Experiment's evaluat*: when and how
    fields: dict[str, Any] = field(default_factory=dict)  # of the Config, in training only


class Study:
    """What is trained on a problem, and what counts in the results."""

    problem: str
    presets: Mapping[str, Any]  # {name: Config}
    candidates: Mapping[str, Candidate]
    metrics: tuple[str, ...]  # columns of the table; the first one ranks
    interface: tuple[str, ...] = ()  # fields of the Config: how a policy acts, not what it meets
    references: tuple[str, ...] = ()  # policies; the best one is that of the differences
    gap: tuple[tuple[str, ...], str] | None = None  # (policies, oracle): see `table`
    larger_is_better = False  # in what ranks
    rank_by: Mapping[str, str] = {}  # {reward: metric that ranks instead}
    checkpoint: str | None = None  # of runs that is played: "best" or "final"; None: best, if any
    # Defaults of the commands:
    trained: tuple[str, ...] = ()  # candidates that `train` trains; all by default
    compared: tuple[str, ...] = ()  # presets that `compare` plays; the first one by default
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # that `compare` trains
    episodes = 100  # that are played
    lacks: tuple[str, ...] = ()  # of the commands
    choices: Mapping[str, Sequence[Any]] = {}  # {field of the Config: allowed values}
    aliases: Mapping[str, Sequence[str]] = {}  # {field of a command: the source system's flags}
    source_flags: Mapping[str, type] = {}  # {command: a `SourceFlags`}

    def settings(
        self, preset: str, candidate: str, problem: Any, seed: int, env_steps: int | None
    ) -> Settings:
        """How a candidate is trained; env_steps None: as long as is usual."""
        raise NotImplementedError

    def check(self, preset: str, problem: Any, command: str) -> None:
        """Raise a ValueError if something that a Config names is not there, or a command cannot
        play it."""
        for name, value in settings_of(problem).items():
            if name.endswith("_path") and value and not Path(value).exists():
                raise ValueError(f"{name} is {value!r}; there is no such file or folder")

    def tuned_on(self, problem: Any) -> Any:
        """The Config that settings are tried on, where it is not what is compared on."""
        return problem

    def prepared(self, problem: Any, out: Path, splits: Sequence[str]) -> Any:
        """The Config with what it needs made; `splits` are those that will be played."""
        return problem

    def baselines(self, problem: Any, seeds: Sequence[int]) -> list[Contestant]:
        """The heuristics; those that learn, once for each seed."""
        return [
            Contestant(name, x.policy, x.configure(problem), oracle=x.oracle)
            for name, x in envs.module(self.problem).BASELINES.items()
        ]

    def check_run(self, folder: Path, problem: Any) -> None:
        """Raise a ValueError if the policy of a run cannot play this problem."""

    def variants(self, preset: str, problem: Any) -> list[Any]:
        """What `compare` plays, each with results of its own."""
        return [problem]

    def concluded(self, compared: "Compared") -> None:
        """Write what else `compare` writes, when everything was played."""

    def draw(self, out: Path, folder: Path, problem: Any, policies: Sequence[str]) -> list[Path]:
        """The plots that the files of a results' folder allow."""
        by = self.ranks_by(problem)
        if not plot.knows(folder, by):
            return []
        return [plot.learning_curves(folder, by, log=not self.larger_ranks(problem))]

    def experiment(
        self,
        preset: str,
        candidate: str,
        seed: int = 0,
        *,
        problem: Any = None,
        env_steps: int | None = None,
        settings: dict[str, Any] | None = None,
        env_runners: dict[str, Any] | None = None,
        evaluation: dict[str, Any] | None = None,
    ) -> Experiment:
        """The experiment of a preset with its settings; what is given replaces them.

        Args:
            preset, candidate: one of `presets`, and one of `candidates`.
            seed: of the training.
            problem: the preset's Config by default.
            env_steps: of the whole training.
            settings: of the algorithm; they become part of the run's name.
            env_runners: arguments of `AlgorithmConfig.env_runners`.
            evaluation: the fields evaluate_every, evaluation_episodes and evaluation_config.

        Raises:
            ValueError: if `problem` changes a field that is the candidate's own, and see
                `Experiment`.
        """
        problem = problem or self.presets[preset]
        own, changed = self.candidates[candidate], self.changed(self.presets[preset], problem)
        standard = self.settings(preset, candidate, problem, seed, env_steps)
        for name in own.fields.keys() & changed:
            if (value := changed.pop(name)) != own.fields[name]:
                raise ValueError(
                    f"{name} is {value!r}; {candidate} has {own.fields[name]!r}: leave it out"
                )
        return Experiment(
            problem=self.problem,
            algorithm=own.algorithm,
            env_config=settings_of(problem) | standard.fields | own.fields,
            settings=standard.training | own.settings | (settings or {}),
            env_runners=standard.env_runners | (env_runners or {}),
            env_steps=standard.env_steps,
            seed=seed,
            preset=label(preset, changed),
            name=label(candidate, settings or {}),
            based_on=preset,
            candidate=candidate,
            **(standard.evaluation | (evaluation or {})),
        )

    def trained_on(self, folder: Path) -> tuple[str, Any]:
        """The preset and the Config that a run was trained on.

        What is a candidate's own, or changed in training only, is as in the preset: others play
        the same problem with as many balancers, and for as long.

        Raises:
            ValueError: if the folder is no run, or one on another problem.
        """
        experiment = runs.experiment_of(folder)
        if experiment.problem != self.problem:
            raise ValueError(f"{folder} is a run on {experiment.problem}; expected {self.problem}")
        preset, candidate = experiment.based_on, experiment.candidate
        if preset not in self.presets:
            preset = next(iter(self.presets))
        standard, problem, own = self.presets[preset], experiment.problem_config(), set[str]()
        if candidate in self.candidates:
            training = self.settings(preset, candidate, standard, experiment.seed, None)
            trained = experiment.env_config.items()
            own = set(self.candidates[candidate].fields)
            own |= {name for name, value in trained if training.fields.get(name) == value}
        return preset, replace(problem, **{name: getattr(standard, name) for name in own})

    def folder(self, out: Path, preset: str, problem: Any) -> Path:
        """Where results are: of policies that were played under this Config."""
        standard = self.presets[preset]
        if hasattr(standard, "split"):
            standard = replace(standard, split="test")
        return Path(out) / self.problem / label(preset, self.changed(standard, problem))

    def contestants(
        self,
        problem: Any,
        names: Sequence[str | Path],
        seeds: Sequence[int] = (0,),
        which: str | None = None,
    ) -> list[Contestant]:
        """Baselines by name ("all" of them), and learned policies by folder: see `runs.learned`.

        Args:
            problem: the Config that is played.
            names: of baselines, or paths.
            seeds: of what learns.
            which: of a run's checkpoints, "best" or "final"; it becomes part of the policy's name.
                None: `checkpoint`.

        Raises:
            ValueError: for a name that is neither, a broken checkpoint, and two runs of one name
                and seed.
        """
        known = self.baselines(problem, seeds)
        heuristics = list(dict.fromkeys(x.name for x in known))
        wanted = set(map(str, names))
        found = [x for x in known if {x.name, "all"} & wanted]
        for name in dict.fromkeys(map(str, names)):
            if name == "all" or name in heuristics:
                continue
            if not Path(name).is_dir():
                raise ValueError(f"policy is {name!r}; allowed are folders and {heuristics}")
            self.check_run(Path(name), problem)
            found.append(self._learned(Path(name), problem, which))
        runs.check_names(found)
        return found

    def contestant(self, problem: Any, name: str | Path) -> Contestant:
        """The one of that name, or a ValueError."""
        found = self.contestants(problem, [name])
        if len(found) != 1:
            raise ValueError(f"policy is {str(name)!r}; expected one, not {len(found)}")
        return found[0]

    def _learned(self, folder: Path, problem: Any, which: str | None) -> Contestant:
        own, system = self.interface, ""
        if (run := runs.run_of(folder)) is not None:
            candidate = self.candidates.get(runs.experiment_of(run).candidate)
            if candidate is not None and candidate.system:
                own, system = (*own, *candidate.fields), candidate.system
        return runs.learned(folder, problem, own, which, self.checkpoint, system)

    def show(self, rows: pd.DataFrame, problem: Any, title: str) -> str:
        """Print the table of results under this Config; the same as Markdown."""
        by, larger = self.ranks_by(problem), self.larger_ranks(problem)
        played = set(rows["policy"])
        metrics = list(dict.fromkeys([by, *self.shown(problem)]))

        def best(names: Sequence[str]) -> str | None:
            names = [name for name in names if name in played]
            return table.best(rows, names, by, larger) if names else None

        gap = None
        if self.gap and self.gap[1] in played and (floor := best(self.gap[0])):
            gap = (floor, self.gap[1])
        reference = best(self.references)
        result = table.table(
            rows, metrics, by=by, larger_is_better=larger, reference=reference, gap=gap
        )
        table.show(result, metrics, title)
        return table.markdown(result, metrics)

    def ranks_by(self, problem: Any) -> str:
        """The metric that ranks under this Config."""
        return self.rank_by.get(problem.reward, self.metrics[0])

    def larger_ranks(self, problem: Any) -> bool:
        """Whether more of that metric is better."""
        return self.larger_is_better

    def shown(self, problem: Any) -> tuple[str, ...]:
        """The metrics that the table of this Config has."""
        return self.metrics

    def copies(self, problem: Any) -> int:
        """How many episodes are played side by side."""
        return 32

    def told(self, problem: Any) -> Any:
        """The Config as it is written down beside results."""
        return problem

    def changed(self, standard: Any, problem: Any) -> dict[str, Any]:
        """Fields of a Config that are not as in a preset's; folders are named after them."""
        return {k: v for k, v in settings_of(problem).items() if v != getattr(standard, k)}


@dataclass(frozen=True)
class Compared:
    """What `compare` has done with one preset."""

    out: Path  # where all runs are
    preset: str
    problem: Any  # that was trained on
    folder: Path  # of the results
    trained: list[Path]  # the runs
    seeds: tuple[int, ...]
