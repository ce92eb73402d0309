"""What is compared on the KV cache."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from marlserve.envs.kv_cache import BASELINES
from marlserve.envs.kv_cache.baselines import CONSTANTS
from marlserve.envs.kv_cache.config import CHOICES
from marlserve.experiments.studies.kv_cache import settings
from marlserve.experiments.studies.kv_cache.plots import draw
from marlserve.experiments.studies.study import Candidate, Settings, Study


class KVCache(Study):
    """Training is in shorter episodes than those that are played."""

    problem = "kv_cache"
    candidates = {
        "ppo": Candidate("ppo"),
        "ppo_floor": Candidate("ppo", fields={"service_floor": settings.OWN_FLOOR["ppo_floor"]}),
        "a2c": Candidate("a2c"),
        "dqn": Candidate("dqn"),
        "sac": Candidate("sac"),
        "td3": Candidate("td3", fields={"action": "continuous"}),
    }
    metrics = (
        "profit_usd_per_day",
        "success_rate",
        "mean_source_reward",
        "timeout_rate",
        "p95_latency_s",
        "mean_score",
        "energy_mwh",
        "energy_cost_usd",
        "completed",
        "arrived",
    )
    interface = ("action", "enable_deny", "step_s")
    references = tuple(name for name, x in BASELINES.items() if not x.oracle)
    gap = (CONSTANTS, "oracle")
    larger_is_better = True
    rank_by = {"source": "mean_source_reward"}

    trained = ("ppo", "a2c", "dqn", "sac", "td3")
    episodes = 30
    choices = CHOICES
    aliases = {
        "preset": ("--config",),
        "presets": ("--config",),
        "episodes": ("--n-eval-episodes",),
    }

    @property
    def presets(self) -> Mapping[str, Any]:  # type: ignore[override]
        return settings.presets()

    def shown(self, problem: Any) -> tuple[str, ...]:
        of_floor = ("unserved_beyond_floor",) if problem.service_floor else ()
        return (*self.metrics, *of_floor)

    def settings(
        self, preset: str, candidate: str, problem: Any, seed: int, env_steps: int | None
    ) -> Settings:
        return settings.settings(preset, candidate, problem, env_steps)

    def check(self, preset: str, problem: Any, command: str) -> None:
        settings.check_files(preset, problem)
        super().check(preset, problem, command)

    def draw(self, out: Path, folder: Path, problem: Any, policies: Sequence[str]) -> list[Path]:
        return draw(self, folder, problem, policies)


STUDY = KVCache()
