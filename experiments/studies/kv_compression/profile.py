"""Writing what answers cost, as a command."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from rich.progress import track

from marlserve.envs.kv_compression import costs
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.studies.options import NONE, SourceFlags, asked
from marlserve.experiments.studies.study import Study
from marlserve.traces import kv_profile


@dataclass(frozen=True)
class MakeProfile:
    """Measure what answers cost with SnapKV's caches of 64 to 1,024 entries and with the full one,
    and write a profile that the kv_cache problem plays; see `marlserve.envs.kv_compression.costs`.

    The prompts are those of a preset, --num-prompts of them.
    """

    watts: float = 0.0  # drawn by the device while it answers; it must be given
    quality: str = "agreement"  # with the full cache's answer; or "score", of the task
    preset: str = ""  # whose prompts; the flags of the problem change them
    to: Path = RUNS / "kv_compression" / "profile"  # the folder
    source: SourceFlags = NONE
    problem: Any = None

    CHOICES: ClassVar = {"quality": costs.QUALITIES}

    def run(self, study: Study) -> None:
        if self.to.exists() and any(self.to.iterdir()):
            raise ValueError(f"{self.to} is there already; give another folder with --to")
        problem = replace(asked(study.presets[self.preset], self), table_path="")
        study.check(self.preset, problem, "make-profile")
        profile = costs.measured(problem, self.watts, self.quality, lambda x: track(x, "answering"))
        kv_profile.write(self.to, profile)
        print(f"profile: {self.to}, {profile.num_prompts} prompts")
