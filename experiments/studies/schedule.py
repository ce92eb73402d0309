"""Settings that change in the course of a training, by the share of it that is over."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Schedule:
    """Linear between points (share of the training, value)."""

    points: tuple[tuple[float, float], ...]

    def in_steps(self, env_steps: int) -> list[list[float]]:
        """The same as RLlib has it, [[env_steps, value], ...], for a training of so many."""
        return [[round(share * env_steps), value] for share, value in self.points]


def falling(value: float) -> Schedule:
    """Constant in the first half of a training, falling to a tenth in the second."""
    return Schedule(((0.0, value), (0.5, value), (1.0, value / 10)))


def in_steps(settings: Mapping[str, Any], env_steps: int) -> dict[str, Any]:
    """The settings of a training of so many steps: a shorter one has all of a schedule too."""
    return {
        name: value.in_steps(env_steps) if isinstance(value, Schedule) else value
        for name, value in settings.items()
    }
