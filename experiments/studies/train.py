"""The command `train`."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from marlserve.experiments.harness import loggers, save_path
from marlserve.experiments.harness.command_line import read_settings
from marlserve.experiments.harness.experiment import RUNS, Experiment
from marlserve.experiments.harness.jobs import check, train_all
from marlserve.experiments.harness.training import train
from marlserve.experiments.reports.summary import write_summary
from marlserve.experiments.studies import runs
from marlserve.experiments.studies.options import NONE, SourceFlags, asked, merged
from marlserve.experiments.studies.study import Study


@dataclass(frozen=True)
class Train:
    """Train policies, or go on where they were stopped: with Ctrl-C, they leave checkpoints.

    A run's folder has its checkpoint, its progress and, in the end, summary.md. What is trained
    under changed fields or settings has a folder of its own, named after the changes.
    """

    preset: str = ""  # what to train on; the flags of the problem change it
    algorithms: tuple[str, ...] = ()  # what to train, in turn
    seeds: tuple[int, ...] = (0,)  # of networks, exploration and traffic: a run for each
    env_steps: int | None = None  # for how long, over all copies; None: as long as is usual
    lr: float | None = None  # learning rate; None: the algorithm's own
    settings: tuple[str, ...] = ()  # of the algorithms: name=value, as gamma=0.9
    evaluate_every: int | None = None  # env-steps between greedy evaluations; 0: none; None: usual
    num_env_runners: int = 0  # further processes that sample; 0 is fastest on few cores
    checkpoint_every_s: float = 60.0  # between two checkpoints
    log: tuple[str, ...] = ("tensorboard",)  # where the curves go, besides progress.jsonl
    overwrite: bool = False  # begin anew, even if there is a finished run
    resume: Path | None = None  # a run to go on with, as it was begun; other flags do not count
    save_path: Path | None = None  # where the policy is saved as well; for one run
    jobs: int = 1  # trainings side by side
    out: Path = RUNS  # where all runs are
    source: SourceFlags = NONE
    problem: Any = None

    CHOICES: ClassVar[dict[str, Sequence[str]]] = {"log": tuple(loggers.LOGGERS)}

    def run(self, study: Study) -> None:
        loggers.check(self.log)
        if self.resume is not None:
            folder = self._go_on(self.resume)
            _conclude(study, folder, folder.parents[3])
            return
        problem = asked(study.presets[self.preset], self)
        study.check(self.preset, problem, "train")
        experiments = self._experiments(study, problem)
        check(experiments, self.jobs)
        if self.save_path is not None and len(experiments) > 1:
            raise ValueError(f"save_path is for one run; there are {len(experiments)}")
        problem = study.prepared(problem, self.out, self._splits(experiments))
        experiments = self._experiments(study, problem)
        if self.save_path is not None:
            save_path.check(self.save_path, self.out / experiments[0].folder, experiments[0])
        train_all(
            experiments,
            self.out,
            self.jobs,
            overwrite=self.overwrite,
            checkpoint_every_s=self.checkpoint_every_s,
            log=self.log,
            finished=lambda folder: _conclude(study, folder, self.out),
        )
        if self.save_path is not None:
            save_path.save(self.out / experiments[0].folder, self.save_path)
            print(f"saved to {self.save_path}")

    def _experiments(self, study: Study, problem: Any) -> list[Experiment]:
        settings = {} if self.lr is None else {"lr": self.lr}
        own = {
            "env_steps": self.env_steps,
            "settings": settings | read_settings(self.settings),
            "env_runners": {"num_env_runners": n} if (n := self.num_env_runners) else None,
            "evaluation": None if (x := self.evaluate_every) is None else {"evaluate_every": x},
        }
        arguments = merged(own, self.source.arguments(problem))
        return [
            study.experiment(self.preset, candidate, seed, problem=problem, **arguments)
            for candidate in self.algorithms
            for seed in self.seeds
        ]

    def _splits(self, experiments: list[Experiment]) -> tuple[str, ...]:
        return ("train", "validation") if any(x.evaluate_every for x in experiments) else ("train",)

    def _go_on(self, run: Path) -> Path:
        experiment = runs.experiment_of(run)
        out = Path(run).resolve().parents[len(experiment.folder.parts) - 1]
        return train(experiment, out, checkpoint_every_s=self.checkpoint_every_s, log=self.log)


def sum_up(study: Study, folder: Path, out: Path) -> str:
    """Write a run's summary.md, unless there is one, and give the command that comes next."""
    command = ["python", f"experiments/{study.problem}.py", "evaluate", "--model", str(folder)]
    if "evaluate" in study.lacks:
        command = ["python", f"experiments/{study.problem}.py", "compare"]
    if out != RUNS:
        command += ["--out", str(out)]
    if not (folder / "summary.md").exists():
        write_summary(folder, command)
    return shlex.join(command)


def _conclude(study: Study, folder: Path, out: Path) -> None:
    print(f"run: {folder}\nnext: {sum_up(study, folder, out)}")
