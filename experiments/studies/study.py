"""What is compared on one problem, and how: the part that the scripts of all problems share.

A script such as `load_balance` says what there is to train (presets, algorithms, settings) and what
counts (metrics, reference) in a `Study`, and has the flags of the commands; how experiments follow
from that, how they are played and shown is here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from marlserve import envs
from marlserve.envs.base import Baseline
from marlserve.experiments.harness import evaluate, jobs, results
from marlserve.experiments.harness.experiment import Experiment, label
from marlserve.experiments.harness.run import read_experiment
from marlserve.experiments.reports import table

Contestants = dict[tuple[str, int | None], Baseline]  # {(policy, training seed or None): ...}


@dataclass(frozen=True)
class Settings:
    """How to train on a preset."""

    env_steps: int
    training: dict[str, Any] = field(default_factory=dict)  # settings of the algorithm
    env_runners: dict[str, Any] = field(default_factory=dict)  # of AlgorithmConfig.env_runners()
    evaluation: dict[str, Any] = field(default_factory=dict)  # Experiment's evaluat*: when and how


@dataclass(frozen=True)
class Study:
    """What is trained on a problem, and what counts in the results."""

    problem: str
    presets: Mapping[str, Any]  # {name: Config}
    algorithms: Mapping[str, tuple[str, dict, dict]]  # {name: (algorithm, settings, Config fields)}
    settings: Callable[[str, str], Settings]  # of a preset and the name of an algorithm
    interface: tuple[str, ...]  # fields of the Config: how a policy acts, not what it meets
    metrics: tuple[str, ...]  # columns of the table; the first one ranks
    references: tuple[str, ...] = ()  # policies; the best one is that of the differences
    gap: tuple[tuple[str, ...], str] | None = None  # (policies, oracle): see `table`
    larger_is_better: bool = False  # in what ranks
    rank_by: Mapping[str, str] = field(default_factory=dict)  # {reward: metric that ranks instead}
    num_envs: int = 32  # episodes that are played side by side
    checkpoint: str | None = None  # of runs that is played: "best" or "final"; None: best, if any
    own_fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # see `contestants`

    def experiment(
        self,
        preset: str,
        algorithm: str,
        seed: int = 0,
        *,
        problem: Any = None,
        fields: dict[str, Any] | None = None,
        env_steps: int | None = None,
        settings: dict[str, Any] | None = None,
        env_runners: dict[str, Any] | None = None,
        evaluation: dict[str, Any] | None = None,
    ) -> Experiment:
        """The experiment of a preset with its settings; what is given replaces them.

        Args:
            preset: one of `presets`.
            algorithm: one of `algorithms`.
            seed: of the training.
            problem: the preset's Config by default.
            fields: of the Config, in training only; they are not part of the run's name.
            env_steps: of the whole training.
            settings: of the algorithm; they become part of the run's name.
            env_runners: arguments of `AlgorithmConfig.env_runners`.
            evaluation: the fields evaluate_every, evaluation_episodes and evaluation_config.

        Raises:
            ValueError: if `problem` changes a field that is the algorithm's own, and see
                `Experiment`.
        """
        standard = self.settings(preset, algorithm)
        module, own_settings, own_fields = self.algorithms[algorithm]
        problem = problem or self.presets[preset]
        changed = changes(self.presets[preset], problem)
        for name in own_fields.keys() & changed:
            if (value := changed.pop(name)) != own_fields[name]:
                raise ValueError(
                    f"{name} is {value!r}; {algorithm} has {own_fields[name]!r}: leave it out"
                )
        return Experiment(
            problem=self.problem,
            algorithm=module,
            env_config=vars(problem) | own_fields | (fields or {}),
            settings=standard.training | own_settings | (settings or {}),
            env_runners=standard.env_runners | (env_runners or {}),
            env_steps=standard.env_steps if env_steps is None else env_steps,
            seed=seed,
            preset=label(preset, changed),
            name=label(algorithm, settings or {}),
            **(standard.evaluation | (evaluation or {})),
        )

    def folder(self, out: Path, preset: str, problem: Any) -> Path:
        """Where results are: of policies that were played under this Config."""
        standard = replace(self.presets[preset], split="test")
        return Path(out) / self.problem / label(preset, changes(standard, problem))

    def contestants(self, names: Sequence[str | Path], which: str | None = None) -> Contestants:
        """Heuristics by name, and the learned policies of runs and checkpoints by folder.

        A learned policy plays with the fields of the Config that it was trained with where they
        are in `interface`, or in `own_fields` of its algorithm: {"s_sac": ("num_balancers",)} for
        one that only plays a system with one balancer. That is another system, so such a policy is
        not ranked, as oracles are not.

        Args:
            names: of heuristics, or paths.
            which: of a run's checkpoints, "best" or "final"; it becomes part of the policy's name.
                None: `checkpoint`.

        Raises:
            ValueError: for a name that is neither, a broken checkpoint, and two runs of one name
                and seed.
        """
        heuristics, found, paths = envs.module(self.problem).BASELINES, {}, {}
        for name in dict.fromkeys(map(str, names)):
            path, key = Path(name), (name, None)
            if name in heuristics:
                found[key] = heuristics[name]
                continue
            if not path.is_dir():
                raise ValueError(f"policy is {name!r}; allowed are folders and {list(heuristics)}")
            if (path / "experiment.json").exists():
                run = read_experiment(path)
                key = (run["name"] if which is None else f"{run['name']},{which}", run["seed"])
            if key in paths:
                raise ValueError(
                    f"{paths[key]} and {path} are both called {key[0]}, seed {key[1]}: "
                    "evaluate one of them"
                )
            own = self._own_fields(path)
            played = evaluate.learned(path, (*self.interface, *own), which or self.checkpoint)
            found[key], paths[key] = replace(played, oracle=bool(own)), path
        return found

    def _own_fields(self, path: Path) -> tuple[str, ...]:
        """Of the algorithm of a run, or of the run that a checkpoint is in."""
        if (run := evaluate.run_of(path)) is None:
            return ()
        return self.own_fields.get(read_experiment(run)["name"].split(",")[0], ())

    def runs_below(self, folder: Path) -> list[Path]:
        """The runs on this problem in or below a folder; those without a checkpoint are named.

        Raises:
            ValueError: if there is none.
        """
        runs = []
        for file in sorted(Path(folder).rglob("experiment.json")):
            if read_experiment(file.parent).get("problem") != self.problem:
                continue
            if (file.parent / "checkpoint").is_dir():
                runs.append(file.parent)
            else:
                print(f"{file.parent} has no checkpoint yet: it is not played")
        if not runs:
            raise ValueError(f"there is no run on {self.problem} in {folder}: train one first")
        return runs

    def play(
        self, out: Path, preset: str, problem: Any, contestants: Contestants, episodes: int
    ) -> tuple[Path, pd.DataFrame]:
        """Play the held-out episodes: the folder of results.csv, and the new rows."""
        folder = self.folder(out, preset, problem)
        rows = jobs.play_all(contestants, self.problem, problem, episodes, self.num_envs)
        results.merge_results(folder / "results.csv", rows, self.problem, problem)
        return folder, rows

    def report(
        self, out: Path, preset: str, problem: Any, contestants: Contestants, episodes: int
    ) -> Path:
        """Play, print the table of all results there are now, and write it to table.md.

        Returns:
            the folder of results.csv.
        """
        folder, _ = self.play(out, preset, problem, contestants, episodes)
        rows = results.read_results(folder / "results.csv")
        text = self.show(rows, problem, f"{self.problem}, {folder.name}")
        (folder / "table.md").write_text(text)
        print(f"all results: {folder / 'results.csv'}")
        return folder

    def show(self, rows: pd.DataFrame, problem: Any, title: str) -> str:
        """Print the table of results under this Config; the same as Markdown."""
        by, played = self.ranks_by(problem), set(rows["policy"])
        metrics = list(dict.fromkeys([by, *self.metrics]))

        def best(names: Sequence[str]) -> str | None:
            names = [name for name in names if name in played]
            return table.best(rows, names, by, self.larger_is_better) if names else None

        gap = None
        if self.gap and self.gap[1] in played and (floor := best(self.gap[0])):
            gap = (floor, self.gap[1])
        result = table.table(
            rows,
            metrics,
            by=by,
            larger_is_better=self.larger_is_better,
            reference=best(self.references),
            gap=gap,
        )
        table.show(result, metrics, title)
        return table.markdown(result, metrics)

    def ranks_by(self, problem: Any) -> str:
        """The metric that ranks under this Config."""
        return self.rank_by.get(problem.reward, self.metrics[0])


def changes(standard: Any, problem: Any) -> dict[str, Any]:
    """Fields of a Config that are not as in a preset's."""
    return {k: v for k, v in vars(problem).items() if v != getattr(standard, k)}
