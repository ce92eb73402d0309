"""The books of the episodes in progress, and the light object that callbacks are given."""

import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np


@dataclass
class Episode:
    """An episode as callbacks and `policy_mapping_fn` see it: its sums, not its steps.

    The same object, `custom_data` included, is given to `on_episode_start` and, filled in, to
    `on_episode_end`.
    """

    agent_ids: tuple[str, ...]
    env_index: int = 0
    id_: str = field(default_factory=lambda: uuid4().hex)
    length: int = 0
    agent_returns: dict[str, float] = field(default_factory=dict)
    agent_lengths: dict[str, int] = field(default_factory=dict)
    is_terminated: bool = False
    is_truncated: bool = False
    duration_s: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)  # the problem's own, physical units
    custom_data: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.length

    @property
    def is_done(self) -> bool:
        return self.is_terminated or self.is_truncated

    def get_return(self) -> float:
        """Sum of the rewards of all agents."""
        return sum(self.agent_returns.values())

    def env_steps(self) -> int:
        return self.length

    def agent_steps(self) -> int:
        return sum(self.agent_lengths.values())


class Ledger:
    """Sums of rewards and steps of the episode in progress in each copy."""

    def __init__(self, agents: tuple[str, ...], num_envs: int):
        self._agents = agents
        self._returns = np.zeros((num_envs, len(agents)))
        self._agent_lengths = np.zeros((num_envs, len(agents)), np.int64)
        self._lengths = np.zeros(num_envs, np.int64)
        self._started_s = np.zeros(num_envs)
        self._episodes = [Episode(agents, copy) for copy in range(num_envs)]

    def begin(self, copies: np.ndarray) -> list[Episode]:
        """New episodes in these copies."""
        self._returns[copies] = 0.0
        self._agent_lengths[copies] = 0
        self._lengths[copies] = 0
        self._started_s[copies] = time.perf_counter()
        for copy in copies:
            self._episodes[copy] = Episode(self._agents, int(copy))
        return [self._episodes[copy] for copy in copies]

    def record(self, rewards: np.ndarray, active: np.ndarray) -> None:
        """One more step of every copy: [B, N] each."""
        self._returns += rewards
        self._agent_lengths += active
        self._lengths += 1

    def finish(
        self,
        copies: np.ndarray,
        terminated: np.ndarray,
        metrics: dict[str, np.ndarray],
    ) -> list[Episode]:
        """The episodes of these copies, filled in; `terminated` and `metrics` are [B]."""
        now = time.perf_counter()
        for copy in copies:
            episode = self._episodes[copy]
            episode.length = int(self._lengths[copy])
            episode.agent_returns = dict(
                zip(self._agents, self._returns[copy].tolist(), strict=True)
            )
            episode.agent_lengths = dict(
                zip(self._agents, self._agent_lengths[copy].tolist(), strict=True)
            )
            episode.is_terminated = bool(terminated[copy])
            episode.is_truncated = not episode.is_terminated
            episode.duration_s = now - self._started_s[copy]
            episode.metrics = {name: float(values[copy]) for name, values in metrics.items()}
        return [self._episodes[copy] for copy in copies]
