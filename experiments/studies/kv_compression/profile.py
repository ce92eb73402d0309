"""Writing what answers cost, and what looking at prompts does, as commands."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from rich.progress import track

from marlserve.envs.kv_compression import Config, costs, energy, speeds
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

    watts: float = 0.0  # drawn by the device while it answers; 0: it counts joules itself
    repeats: int = 1  # of each answer: counters of joules move in steps of some milliseconds
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
        meter = energy.meter(problem.device, self.watts)
        profile = costs.measured(
            problem, meter, self.quality, self.repeats, lambda x: track(x, "answering")
        )
        kv_profile.write(self.to, profile)
        print(f"profile: {self.to}, {profile.num_prompts} prompts, joules by {meter.source}")


@dataclass(frozen=True)
class MeasureSpeeds:
    """Measure what caches hold, how fast the model answers with them one by one and eight side by
    side, and what looking at a prompt costs; see `marlserve.envs.kv_compression.speeds`.

    The prompts are those of a preset, --num-prompts of them.
    """

    watts: float = 0.0  # drawn by the device while it answers; 0: it counts joules itself
    decoding: bool = True  # measure answers too, not only what looking costs
    preset: str = ""  # whose prompts; the flags of the problem change them
    source: SourceFlags = NONE
    problem: Any = None

    def run(self, study: Study) -> None:
        problem = replace(asked(study.presets[self.preset], self), table_path="")
        study.check(self.preset, problem, "measure-speeds")
        if self.decoding:
            self._decoding(problem)
        looks = speeds.looking(problem, lambda x: track(x, "looking"))
        print("\n| what | ms |\n| --- | ---: |")
        for name, ms in looks.items():
            print(f"| {name} | {ms:.2f} |")

    def _decoding(self, problem: Config) -> None:
        meter = energy.meter(problem.device, self.watts)
        rows = speeds.decoding(problem, meter, lambda x: track(x, "answering"))
        print(f"A prompt of {rows[0].prompt_tokens} tokens, joules by {meter.source}:\n")
        print("| cache | batch | MB | tokens/s | J/token |\n| --- | ---: | ---: | ---: | ---: |")
        for x in rows:
            numbers = f"{x.mbytes:.1f} | {x.tokens_per_s:.0f} | {x.joules_per_token:.3f}"
            print(f"| {x.cache} | {x.batch} | {numbers} |")
