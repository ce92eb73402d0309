"""What all problems share: B independent copies as arrays, and what plays them.

A problem is written once, as a subclass of `Problem`, over arrays with a leading batch axis of
B = num_envs copies and N agents. `envs.parallel` presents the case B = 1 as a PettingZoo
`ParallelEnv`: the same code steps both, so copy b of a batch and a single environment that start
from the same seed live through bit-identical episodes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import gymnasium
import numpy as np

from marlserve.envs.actions import checked


class Policy(Protocol):
    """What acts: a heuristic, a checkpoint or an exported policy.

    It is made anew for each batch of B episodes, which it plays side by side, from their first
    steps on.
    """

    def __call__(
        self, observations: dict[str, np.ndarray], masks: dict[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """Actions by agent, [B, *A], for one step.

        Args:
            observations: by agent, [B, *O].
            masks: which actions are legal, by agent, [B, components, actions] bool; None if the
                problem has no masks.
        """
        ...


@dataclass(frozen=True)
class Baseline:
    """A heuristic to compare with: a policy, and what it asks of the problem."""

    policy: Callable[[Any], Policy]  # Problem -> policy; called anew for each batch of episodes
    configure: Callable[[Any], Any] = lambda config: config  # Config -> Config it plays under
    oracle: bool = False  # told what no deployment could know


class Problem(ABC):
    """B copies of one control problem.

    A subclass sets `agents`, `observation_space`, `action_space` (each the same for all agents)
    and `state_space` in its __init__, calls `super().__init__(config, num_envs)`, and writes
    `_start`, `_advance` and the readers below. All randomness of copy b comes from
    `self.generators[b]`.
    """

    name: str  # the module's name
    agents: tuple[str, ...]
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    state_space: gymnasium.spaces.Box

    def __init__(self, config: Any, num_envs: int = 1):
        if not isinstance(num_envs, (int, np.integer)) or num_envs < 1:
            raise ValueError(f"num_envs is {num_envs!r}; it must be at least 1, and whole")
        self.config = config
        self.num_envs = num_envs
        self.generators = [np.random.default_rng() for _ in range(num_envs)]
        self._running = np.zeros(num_envs, bool)

    @abstractmethod
    def _start(self, copies: np.ndarray) -> None:
        """Begin a new episode in the copies with these indices."""

    @abstractmethod
    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Play one step: rewards [B, N] float32, terminated [B] bool, truncated [B] bool."""

    @abstractmethod
    def observations(self) -> np.ndarray:
        """What every agent sees now: [B, N, *observation_space.shape], float32."""

    @abstractmethod
    def state(self) -> np.ndarray:
        """The true global state, for centralised training only: [B, S], float32."""

    @abstractmethod
    def metrics(self) -> dict[str, np.ndarray]:
        """Results of the episode so far in physical units: {name: [B]}."""

    def action_masks(self) -> np.ndarray | None:
        """Which actions are legal now, [B, N, components, actions] bool; None if all are."""
        return None

    @property
    def observation_spaces(self) -> dict[str, gymnasium.Space]:
        """By agent; all have the same."""
        return dict.fromkeys(self.agents, self.observation_space)

    @property
    def action_spaces(self) -> dict[str, gymnasium.Space]:
        """By agent; all have the same."""
        return dict.fromkeys(self.agents, self.action_space)

    def active(self) -> np.ndarray:
        """Whose part of the episode is not over, [B, N] bool: here everyone acts to its end."""
        return np.ones((self.num_envs, len(self.agents)), bool)

    def costs(self) -> np.ndarray | None:
        """What the last step cost of a constraint, [B, N]: to be at most 0 in the mean over steps.
        None if there is none."""
        return None

    def windows(self) -> np.ndarray | None:
        """Which part of a recording each copy plays, [B]; None if episodes share none.

        Episodes of one window are alike, which whoever compares policies must know.
        """
        return None

    def render(self, copy: int, mode: str) -> str | np.ndarray:
        """A picture of one copy: text for "ansi", [height, width, 3] uint8 for "rgb_array"."""
        raise NotImplementedError(f"{self.name} has no render mode {mode!r}")

    def reset(
        self,
        seeds: Sequence[int | None] | None = None,
        copies: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Begin new episodes and return the observations of all copies, [B, N, *O].

        Args:
            seeds: one per copy that is reset. A seed makes that copy's generator anew; None
                lets it continue, so an unseeded reset after a seeded one is reproducible too.
            copies: indices of the copies to reset; all of them by default.

        Raises:
            ValueError: for a bad seed, if the number of seeds is not the number of copies, and
                for copies that are not indices, each once: a mask of truth values is an error.
        """
        indices = np.arange(self.num_envs) if copies is None else self._indices(copies)
        if seeds is not None:
            if len(seeds) != len(indices):
                raise ValueError(
                    f"{len(seeds)} seeds for {len(indices)} copies: one each is needed"
                )
            seeded = [None if seed is None else _generator(seed) for seed in seeds]
            for copy, generator in zip(indices, seeded, strict=True):
                self.generators[copy] = generator or self.generators[copy]
        self._start(indices)
        self._running[indices] = True
        return self.observations()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Play one step of every copy.

        Args:
            actions: [B, N, *action_space.shape]

        Returns:
            observations [B, N, *O], rewards [B, N], terminated [B], truncated [B]. A copy that
            ended stays as it is, for `state()` and `metrics()`, until `reset(copies=...)`.

        Raises:
            ValueError: for a wrong shape, what is no number, or an action outside the space.
            RuntimeError: if a copy has ended, or never began.
        """
        if not self._running.all():
            ended = np.flatnonzero(~self._running).tolist()
            raise RuntimeError(f"copies {ended} have no episode in progress: reset them first")
        actions = checked(actions, self.action_space, self.agents, self.num_envs)
        rewards, terminated, truncated = self._advance(actions)
        self._running = ~(terminated | truncated)
        return self.observations(), rewards, terminated, truncated

    def close(self) -> None:  # noqa: B027 (most problems hold nothing but memory)
        """Release what the problem holds."""

    def __repr__(self) -> str:
        parts = (
            f"{self.num_envs} copies",
            f"{len(self.agents)} agents",
            f"observation {_described(self.observation_space)}",
            f"action {_described(self.action_space)}",
            *changed_fields(self.config),
        )
        return f"{self.name}({', '.join(parts)})"

    def _indices(self, copies: Sequence[int] | np.ndarray) -> np.ndarray:
        """The indices of copies, or an error that says what is wrong."""
        indices = np.asarray(copies)
        allowed = f"indices 0 to {self.num_envs - 1}, each once"
        if indices.ndim != 1 or (len(indices) and indices.dtype.kind not in "iu"):
            raise ValueError(
                f"copies is {copies!r}; allowed are {allowed} (of a mask: np.flatnonzero(mask))"
            )
        indices = indices.astype(np.int64)
        out = ((indices < 0) | (indices >= self.num_envs)).any()
        if out or len(np.unique(indices)) < len(indices):
            raise ValueError(f"copies is {indices.tolist()}; allowed are {allowed}")
        return indices


def settings_of(config: Any) -> dict[str, Any]:
    """The fields of a Config by their names, as an env_config has them; without what the Config
    keeps of what follows from them."""
    return {field.name: getattr(config, field.name) for field in fields(config)}


def changed_fields(config: Any) -> list[str]:
    """The fields of a Config that differ from their defaults, as "name=value"."""
    values = ((field, getattr(config, field.name)) for field in fields(config))
    return [f"{field.name}={value!r}" for field, value in values if value != field.default]


def _described(space: gymnasium.Space) -> str:
    """A space in a few characters: its shape, and how many values it has where they are counted."""
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        counts = np.unique(space.nvec)
        count = counts[0] if len(counts) == 1 else space.nvec.tolist()
        return f"MultiDiscrete({count}, shape={space.shape})"
    if isinstance(space, gymnasium.spaces.Box):
        return f"Box{space.shape}"
    return repr(space)


def _generator(seed: int) -> np.random.Generator:
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise ValueError(f"seed is {seed!r}; allowed is None, or whole and not negative") from error
