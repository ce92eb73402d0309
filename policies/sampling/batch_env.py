"""The batch environment: what the sampler asks of B copies of a problem that step together.

`marlserve.envs.base.Problem` is one by nature, `ParallelBatch` makes one of PettingZoo instances.
N agents; observations of shape O, actions of shape C, H action components of at most A values, a
state of S numbers. Where the agents' spaces differ, O, C, H and A are those of the common arrays,
padded with zeros; `own_spaces` cuts out what is an agent's own.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import gymnasium
import numpy as np


class BatchEnv(Protocol):
    """B copies, which all step together and are reset one by one.

    Attributes:
        agents: all that may ever act, in the order of the axis N.
        num_envs: B.
        state_space: of `state()`, without the batch axis.

    A batch whose copies are replaced when they raise also has `failed`, [B] bool: which raised in
    the last step, and must be reset.
    """

    agents: tuple[str, ...]
    num_envs: int
    state_space: gymnasium.spaces.Box

    @property
    def observation_spaces(self) -> Mapping[str, gymnasium.Space]:
        """What each agent observes, without padding."""

    @property
    def action_spaces(self) -> Mapping[str, gymnasium.Space]:
        """How each agent acts, without padding."""

    def reset(
        self,
        seeds: Sequence[int | None] | None = None,
        copies: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Begin new episodes in `copies`, by default in all; a seed each, None to go on.

        Returns:
            observations of all copies, [B, N, *O].
        """

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Play one step of every copy; all must have an episode in progress.

        Args:
            actions: [B, N, *C], values of the action spaces; those of inactive agents are ignored.

        Returns:
            observations [B, N, *O], rewards [B, N], terminated [B] bool, truncated [B] bool. A copy
            that ended stays as it is until it is reset.
        """

    def state(self) -> np.ndarray:
        """The global state, [B, S]; of a copy whose episode has terminated, any numbers."""

    def action_masks(self) -> np.ndarray | None:
        """Which actions are legal, [B, N, H, A] bool; None if all are."""

    def active(self) -> np.ndarray:
        """Whose part of the episode is not over, [B, N] bool."""

    def costs(self) -> np.ndarray | None:
        """What the last step cost of a constraint, [B, N]; None if there is none."""

    def metrics(self) -> dict[str, np.ndarray]:
        """Results of the episode so far, {name: [B]}."""

    def close(self) -> None:
        """Release what the copies hold."""
