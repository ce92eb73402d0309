"""What is compared on the load balancers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from marlserve.envs.load_balance import PRESETS
from marlserve.envs.load_balance.config import CHOICES
from marlserve.experiments.reports import plot
from marlserve.experiments.studies.load_balance.settings import settings
from marlserve.experiments.studies.load_balance.source import MARLLB
from marlserve.experiments.studies.study import Candidate, Settings, Study

_OWN_REWARD = {"reward_scope": "agent"}
PERCENTILES = ("p50_latency_s", "p90_latency_s", "p95_latency_s", "p99_latency_s")


class LoadBalance(Study):
    """Presets are played at both ends of their range of loads."""

    problem = "load_balance"
    presets = PRESETS
    candidates = {
        "qmix": Candidate("qmix", {"mixer": "qmix"}),
        "vdn": Candidate("qmix", {"mixer": "vdn"}),
        "independent": Candidate("qmix", {"mixer": "none"}, _OWN_REWARD),
        "sac_gru": Candidate("sac_gru", {}, _OWN_REWARD),  # I-SAC
        "s_sac": Candidate("sac_gru", {}, {"num_balancers": 1}, system="one balancer"),
        "ppo": Candidate("ppo"),
    }
    metrics = ("mean_latency_s", "p99_latency_s", "jain_index", "rejected")
    interface = ("action", "weight_levels", "dispatch", "step_s", "reservoir_rule")
    references = ("sed",)

    trained = ("qmix",)
    compared = tuple(PRESETS)
    choices = CHOICES
    aliases = {"algorithms": ("--agent-type",)}
    source_flags = {"train": MARLLB}

    def settings(
        self, preset: str, candidate: str, problem: Any, seed: int, env_steps: int | None
    ) -> Settings:
        return settings(preset, candidate, env_steps)

    def variants(self, preset: str, problem: Any) -> list[Any]:
        """At both ends of the preset's loads, or over the range that was asked for."""
        if problem.load != self.presets[preset].load:
            return [problem]
        return [at_load(problem, load) for load in dict.fromkeys(problem.load)]

    def draw(self, out: Path, folder: Path, problem: Any, policies: Sequence[str]) -> list[Path]:
        drawn = []
        if plot.knows(folder, self.metrics[0]):
            drawn.append(plot.learning_curves(folder, self.metrics[0]))
        if (folder / "results.csv").exists():
            drawn.append(plot.bars(folder, PERCENTILES, "latency_percentiles"))
        return drawn


STUDY = LoadBalance()


def at_load(problem: Any, load: float) -> Any:
    """The same Config with one load in all episodes."""
    return replace(problem, load=(load, load))
