"""What is compared: a policy, by name, and the Config that it plays under.

Everyone meets the same episodes. A Config says two things, what is met and how one acts, and of
the latter every contestant has its own: a heuristic its rule of dispatch, a learned policy the
weight levels that it was trained with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marlserve.envs.base import Policy
from marlserve.experiments.harness.experiment import Experiment


@dataclass(frozen=True)
class Contestant:
    """One policy, or one training seed of one."""

    name: str
    policy: Callable[[Any], Policy]  # Problem -> policy, made anew for each batch of episodes
    config: Any  # of the problem: what it meets, and how it acts
    training_seed: int | None = None  # of what was trained
    oracle: bool = False  # told what no deployment knows
    system: str = ""  # what it plays that is another system, as "one balancer"; not ranked
    folder: Path | None = None  # of the run, or of the checkpoint
    experiment: Experiment | None = None  # that the run carried out
