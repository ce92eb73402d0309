"""The command `demo`."""

from dataclasses import dataclass, replace
from pathlib import Path

from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.harness.jobs import train_all
from marlserve.experiments.studies.evaluate import report
from marlserve.experiments.studies.study import Study

PRESET, CANDIDATE = "moderate", "qmix"


@dataclass(frozen=True)
class Demo:
    """Train QMIX on two load balancers for some minutes, and compare it with the heuristics."""

    episodes: int = 32  # to play with each policy
    env_steps: int | None = None  # of the training; None: as many as is usual
    out: Path = RUNS / "demo"  # apart from results over more episodes

    def run(self, study: Study) -> None:
        experiment = study.experiment(PRESET, CANDIDATE, env_steps=self.env_steps)
        trained = train_all([experiment], self.out)
        problem = replace(study.presets[PRESET], split="test")
        contestants = study.contestants(problem, [*trained, "all"])
        folder = report(study, self.out, PRESET, problem, contestants, self.episodes)
        for file in study.draw(self.out, folder, problem, ()):
            print(f"plot: {file}")
