"""What a sweep looks for: the learning rate, and the width of an algorithm's networks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from marlserve.experiments.harness.experiment import Experiment

FINISHED, STOPPED, FAILED = "finished", "stopped early", "failed"


@dataclass(frozen=True)
class Sweep:
    """What is searched for.

    Raises:
        ValueError: on construction, for a bad value.
    """

    experiment: Experiment  # with all settings but those that are searched for
    metric: str  # of the problem, that ranks
    lr: tuple[float, float] = (1e-4, 1e-2)  # bounds
    widths: tuple[int, ...] = (32, 64, 128)  # of the networks' layers
    samples: int = 12  # trials
    larger_is_better: bool = False  # in the metric

    def __post_init__(self):
        low, high = self.lr
        if not 0.0 < low < high <= 1.0:
            raise ValueError(f"lr is {self.lr}; allowed is (low, high) with 0 < low < high <= 1")
        if not self.widths or min(self.widths) < 1 or len(set(self.widths)) < len(self.widths):
            raise ValueError(f"widths is {self.widths}; they must be different, and at least 1")
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}; it must be at least 1")

    @property
    def folder(self) -> Path:
        """Relative to where all runs are."""
        return self.experiment.folder.parent.parent / "sweep" / self.experiment.name


def width_settings(config: AlgorithmConfig, width: Any) -> dict[str, Any]:
    """The settings that make the layers of an algorithm's networks as wide as that.

    Raises:
        ValueError: if it has none.
    """
    settings = {}
    if hasattr(config, "hidden_size"):
        settings["hidden_size"] = width
    if hasattr(config, "hidden_sizes"):
        settings["hidden_sizes"] = [width] * len(config.hidden_sizes)
    if not settings:
        raise ValueError(f"{config.algo_class.__name__} has no hidden_size and no hidden_sizes")
    return settings
