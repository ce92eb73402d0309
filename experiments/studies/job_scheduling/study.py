"""What is compared on the scheduling problem."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from marlserve.envs.job_scheduling import BASELINES
from marlserve.envs.job_scheduling.baselines import ACROSS_CLUSTERS, ONE_CLUSTER
from marlserve.envs.job_scheduling.config import CHOICES
from marlserve.experiments.harness.contestant import Contestant
from marlserve.experiments.reports import plot
from marlserve.experiments.studies.job_scheduling import settings
from marlserve.experiments.studies.study import Candidate, Settings, Study

_VISIBLE = 16  # of 128: so few tell nearly as much, and a network of them is eight times as fast
_CHOOSE = {"action": "choose", "max_visible": _VISIBLE}
_INSPECT = {"action": "inspect", "max_rejections": 3, "max_visible": 64}


class JobScheduling(Study):
    """Played is the split "test": another drawn log, or the later part of a file.

    Whether others are backfilled is part of how a policy acts: one table has both.
    """

    problem = "job_scheduling"
    candidates = {
        "ppo": Candidate("ppo", fields={**_CHOOSE, "backfill": "none"}),
        "ppo_backfill": Candidate("ppo", fields={**_CHOOSE, "backfill": "easy"}),
        "inspector": Candidate("ppo", fields={**_INSPECT, "base": "f1", "backfill": "none"}),
        "inspector_backfill": Candidate(
            "ppo", fields={**_INSPECT, "base": "area", "backfill": "easy"}
        ),
    }
    metrics = (
        "mean_bounded_slowdown",
        "mean_wait_s",
        "mean_slowdown",
        "utilisation",
        "max_bounded_slowdown",
    )
    interface = ("action", "backfill", "base", "max_rejections", "max_visible")
    references = tuple(name for name, x in BASELINES.items() if not x.oracle)

    episodes = 100
    choices = CHOICES
    aliases = {"episodes": ("--n-eval-episodes",)}

    @property
    def presets(self) -> Mapping[str, Any]:  # type: ignore[override]
        return settings.presets()

    def settings(
        self, preset: str, candidate: str, problem: Any, seed: int, env_steps: int | None
    ) -> Settings:
        return settings.settings(candidate, problem, env_steps)

    def baselines(self, problem: Any, seeds: Sequence[int]) -> list[Contestant]:
        left_out = ONE_CLUSTER if problem.clusters else ACROSS_CLUSTERS
        known = {name: x for name, x in BASELINES.items() if name not in left_out}
        return [
            Contestant(name, x.policy, x.configure(problem), oracle=x.oracle)
            for name, x in known.items()
        ]

    def check(self, preset: str, problem: Any, command: str) -> None:
        settings.check_files(preset, problem)
        super().check(preset, problem, command)

    def draw(self, out: Path, folder: Path, problem: Any, policies: Sequence[str]) -> list[Path]:
        drawn = []
        if plot.knows(folder, self.metrics[0]):
            drawn.append(plot.learning_curves(folder, self.metrics[0]))
        if (folder / "results.csv").exists():
            drawn.append(plot.panels(folder, self.metrics[:3], "performance_comparison"))
        return drawn


STUDY = JobScheduling()
