"""The command `compare`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from marlserve.experiments.harness.evaluate import held_out_seeds
from marlserve.experiments.harness.experiment import RUNS, Experiment
from marlserve.experiments.harness.jobs import check, train_all
from marlserve.experiments.studies.evaluate import report
from marlserve.experiments.studies.options import NONE, SourceFlags, asked, merged
from marlserve.experiments.studies.study import Compared, Study
from marlserve.experiments.studies.train import sum_up


@dataclass(frozen=True)
class Compare:
    """Train what does not exist yet, play all policies and heuristics on the same held-out
    episodes, write results.csv and table.md, and draw the plots.

    The flags of the problem change both what is trained on and what is played.
    """

    presets: tuple[str, ...] = ()  # what to train on and play
    algorithms: tuple[str, ...] = ()  # what to train
    seeds: tuple[int, ...] = ()  # of the trainings, and of baselines that learn
    episodes: int = 100  # to play with each policy
    env_steps: int | None = None  # of every training; None: as many as is usual
    evaluate_every: int | None = None  # env-steps between greedy evaluations; 0: none; None: usual
    jobs: int = 1  # trainings side by side
    out: Path = RUNS  # where all runs are
    source: SourceFlags = NONE
    problem: Any = None

    def run(self, study: Study) -> None:
        held_out_seeds(self.episodes)  # a bad number is an error before the training
        problems = {name: asked(study.presets[name], self) for name in self.presets}
        for preset, problem in problems.items():
            if getattr(problem, "split", "train") != "train" or getattr(problem, "start_time", ""):
                raise ValueError(
                    f"split is {problem.split!r}; compare trains on 'train' and plays 'test', so "
                    "that they share no time: leave split and start_time as they are, or train "
                    "and evaluate one after the other"
                )
            study.check(preset, problem, "compare")
            check(self._experiments(study, preset, problem), self.jobs)
        for preset, problem in problems.items():
            self._compare(study, preset, problem)

    def _experiments(self, study: Study, preset: str, problem: Any) -> list[Experiment]:
        every = self.evaluate_every
        own = {
            "env_steps": self.env_steps,
            "evaluation": None if every is None else {"evaluate_every": every},
        }
        arguments = merged(own, self.source.arguments(problem))
        return [
            study.experiment(preset, candidate, seed, problem=problem, **arguments)
            for candidate in self.algorithms
            for seed in self.seeds
        ]

    def _compare(self, study: Study, preset: str, problem: Any) -> None:
        problem = study.prepared(problem, self.out, ("train", "validation", "test"))
        trained = train_all(
            self._experiments(study, preset, problem),
            self.out,
            self.jobs,
            finished=lambda folder: sum_up(study, folder, self.out),
        )
        tested = replace(problem, split="test") if hasattr(problem, "split") else problem
        folder = study.folder(self.out, preset, tested)
        for played in study.variants(preset, tested):
            contestants = study.contestants(played, [*trained, "all"], self.seeds)
            of_variant = report(study, self.out, preset, played, contestants, self.episodes)
            if of_variant != folder:
                _draw(study, self.out, of_variant, played)
        study.concluded(Compared(self.out, preset, problem, folder, trained, self.seeds))
        _draw(study, self.out, folder, tested)


def _draw(study: Study, out: Path, folder: Path, problem: Any) -> None:
    for file in study.draw(out, folder, problem, ()):
        print(f"plot: {file}")
