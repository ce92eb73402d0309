"""Flags of the KV-compression trainings under the names of the source system's script."""

from dataclasses import dataclass
from typing import Any

from marlserve.experiments.studies.kv_compression.settings import (
    EPISODES_PER_UPDATE,
    EVAL_FREQUENCY,
    ITERATIONS,
)
from marlserve.experiments.studies.options import SourceFlags


@dataclass(frozen=True)
class Iterations(SourceFlags):
    """Budgets by updates."""

    iterations: int | None = None  # the source's: updates, of 32 prompts each; for --env-steps

    def arguments(self, problem: Any) -> dict[str, Any]:
        steps = self.iterations
        return {} if steps is None else {"env_steps": steps * EPISODES_PER_UPDATE}


@dataclass(frozen=True)
class A2SF(SourceFlags):
    """What is not given is None, and says nothing."""

    iterations: int | None = None  # the source's: updates; instead of --env-steps
    episodes_per_update: int | None = None  # the source's: prompts in each; None: 32
    eval_frequency: int | None = None  # the source's: iterations between evaluations; 0: none
    ucb_beta: float | None = None  # the source's: how much exploration, as --settings ucb_beta=
    uncertainty_coef: float | None = None  # the source's: as --settings uncertainty_coef=

    def arguments(self, problem: Any) -> dict[str, Any]:
        size = self.episodes_per_update
        each = EPISODES_PER_UPDATE if size is None else size
        found: dict[str, Any] = {"settings": {}}
        for name in ("ucb_beta", "uncertainty_coef"):
            if (value := getattr(self, name)) is not None:
                found["settings"][name] = value
        if size is not None:
            found["settings"]["episodes_per_update"] = size
            found["env_runners"] = {"num_envs_per_env_runner": size}
        if self.iterations is not None or size is not None:
            count = ITERATIONS if self.iterations is None else self.iterations
            found["env_steps"] = count * each
        if self.eval_frequency is not None or size is not None:
            every = EVAL_FREQUENCY if self.eval_frequency is None else self.eval_frequency
            found["evaluation"] = {"evaluate_every": every * each}
        return found
