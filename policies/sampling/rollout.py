"""B copies in progress: the current step of each, and the row that each is filling.

All copies advance together; their rows end separately, at the end of an episode or after
`num_steps` steps. Nothing here knows of modules, RLlib or metrics.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from marlserve.policies.sampling.actions import ActionArrays
from marlserve.policies.sampling.batch_env import BatchEnv
from marlserve.policies.sampling.joint_actions import JointActions
from marlserve.policies.sampling.sequences import (
    ACTION_MASK,
    ACTIONS,
    ACTIVE,
    COSTS,
    FIRST,
    HIDDEN,
    LENGTH,
    OBS,
    PER_ROW,
    REWARDS,
    STATE,
    TERMINATED,
    Sequences,
    time_axis,
)


class Outcome(NamedTuple):
    """What one step of all copies brought."""

    rewards: np.ndarray  # [B, N]
    active: np.ndarray  # [B, N] bool, who acted
    terminated: np.ndarray  # [B] bool
    truncated: np.ndarray  # [B] bool
    failed: np.ndarray  # [B] bool, the copy raised and was replaced: this step did not happen


class Rollout:
    """Steps a batch environment and collects rows.

    Args:
        batch: a batch environment.
        num_steps: L, the longest row.
        actions: of the action spaces.
        initial_hidden: [N, *hidden] or None.
        needs_state: keep the global state.
        needs_costs: keep the costs of the problem's constraint.

    Attributes:
        obs [B, N, *O], mask [B, N, H, A] or None, active [B, N]: what the agents see now
        hidden: [B, N, *hidden] or None, the recurrent state now
        position: [B], steps in each copy's row
    """

    def __init__(
        self,
        batch: BatchEnv,
        num_steps: int,
        actions: ActionArrays | JointActions,
        initial_hidden: np.ndarray | None = None,
        needs_state: bool = False,
        needs_costs: bool = False,
    ):
        self.batch, self._num_steps, self._actions = batch, num_steps, actions
        self._needs_state, self._needs_costs = needs_state, needs_costs
        failed = getattr(batch, "failed", None)
        self._failed = np.zeros(batch.num_envs, bool) if failed is None else failed
        self._copies = np.arange(batch.num_envs)
        self._initial_hidden = initial_hidden
        self.position = np.zeros(batch.num_envs, np.int64)
        self.hidden = None
        if initial_hidden is not None:
            self.hidden = np.repeat(initial_hidden[None], batch.num_envs, axis=0)
        self._legal = None  # [B, N, H, A], what the space alone allows, if components differ
        if actions.needs_mask and actions.legal is not None:
            shape = (batch.num_envs, len(batch.agents), *actions.legal.shape[-2:])
            self._legal = np.broadcast_to(actions.legal, shape).copy()
        self._columns: dict[str, np.ndarray] = {}

    def begin(self, copies: np.ndarray, seeds: Sequence[int | None] | None = None) -> None:
        """Begin new episodes, and rows, in these copies; unfinished rows of theirs are lost."""
        self.obs = self.batch.reset(seeds, copies)
        self._look()
        if self.hidden is not None:
            self.hidden[copies] = self._initial_hidden
        self.drop(copies)
        self._columns[FIRST][copies] = True

    def advance(
        self, actions: np.ndarray, hidden: np.ndarray | None, kept: dict[str, np.ndarray]
    ) -> Outcome:
        """Play one step of every copy.

        Args:
            actions: [B, N, *C] as the modules chose them.
            hidden: [B, N, *hidden] after choosing them.
            kept: further per-step columns, {name: [B, N, ...]}.
        """
        acted = self.active
        if not acted.all():
            actions = np.where(
                acted.reshape(acted.shape + (1,) * len(self._actions.shape)), actions, 0
            ).astype(self._actions.dtype, copy=False)
        self.obs, rewards, terminated, truncated = self.batch.step(self._actions.to_env(actions))
        here = (self._copies, self.position)
        self._store(ACTIONS, here, actions)
        self._store(REWARDS, here, rewards)
        if self._needs_costs and (costs := self.batch.costs()) is not None:
            self._store(COSTS, here, costs)
        for name, values in kept.items():
            self._store(name, here, values)
        self.position += 1
        if hidden is not None:
            self.hidden = hidden.copy()
        self._look()
        self._store_look(self._copies, self.position)
        return Outcome(rewards, acted, terminated, truncated, self._failed)

    def full(self) -> np.ndarray:
        """Which copies' rows have no room for another step, [B] bool."""
        return self.position == self._num_steps

    def take(self, copies: np.ndarray, terminated: np.ndarray) -> Sequences:
        """The rows of these copies; each begins another row where it stands.

        Args:
            copies: indices; each row has at least one step.
            terminated: [len(copies)] bool.
        """
        self._columns[LENGTH][copies] = self.position[copies]
        self._columns[TERMINATED][copies] = terminated
        rows = Sequences({name: column[copies] for name, column in self._columns.items()})
        self.drop(copies)
        return rows

    def drop(self, copies: np.ndarray) -> None:
        """Forget the rows of these copies; each begins another row where it stands."""
        for column in self._columns.values():
            column[copies] = 0
        self.position[copies] = 0
        self._store_look(copies, 0)
        if self.hidden is not None:
            self._store(HIDDEN, copies, self.hidden[copies])
        for name, dtype in ((TERMINATED, bool), (LENGTH, np.int64), (FIRST, bool)):
            if name not in self._columns:
                self._columns[name] = np.zeros(len(self._copies), dtype)

    def _look(self) -> None:
        """Read what the copies show now."""
        if self._needs_state:
            self.state = self.batch.state()
        self.active = self.batch.active().copy()
        self.mask = self.batch.action_masks()
        if self._legal is not None:
            self.mask = self._legal if self.mask is None else self.mask & self._legal

    def _store_look(self, copies: np.ndarray, position: np.ndarray | int) -> None:
        here = (copies, position)
        self._store(OBS, here, self.obs[copies])
        if self._needs_state:
            self._store(STATE, here, self.state[copies])
        self._store(ACTIVE, here, self.active[copies])
        if self.mask is not None:
            self._store(ACTION_MASK, here, self.mask[copies])

    def _store(self, name: str, where, values: np.ndarray) -> None:
        """Write into a column, which is made when it is first written to."""
        column = self._columns.get(name)
        if column is None:
            steps = () if name in PER_ROW else (time_axis(name, self._num_steps),)
            shape = (len(self._copies), *steps, *values.shape[1:])
            dtype = np.float32 if values.dtype == np.float64 else values.dtype
            column = self._columns[name] = np.zeros(shape, dtype)
        column[where] = values
