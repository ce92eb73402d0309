"""The command `export`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from marlserve import envs
from marlserve.experiments.studies import runs
from marlserve.experiments.studies.study import Study
from marlserve.policies import export

_FOLDERS = {"best": "best", "final": "checkpoint"}


@dataclass(frozen=True)
class Export:
    """Write the policy of a run as a policy file, which acts without torch, Ray or pickle."""

    model: Path = Path()  # a run
    to: Path | None = None  # a new folder; None: policy/ in the run's
    checkpoint: Literal["best", "final"] | None = None  # of the run; None: the usual one

    def run(self, study: Study) -> None:
        trained = runs.experiment_of(self.model)
        if trained.problem != study.problem:
            raise ValueError(f"{self.model} is a run on {trained.problem}, not {study.problem}")
        which = self.checkpoint or study.checkpoint
        folder = self.model / _FOLDERS[which] if which else self.model
        seen = envs.module(study.problem).features(trained.problem_config())
        written = export.write(
            folder,
            self.to or self.model / "policy",
            provenance={runs.EXPERIMENT: asdict(trained)},
            features=dict.fromkeys(seen, "1"),  # all are scaled to [-1, 1]
        )
        print(f"policy file: {written}")
