"""What the sampler hands to a learner: rows of synchronised steps of all agents.

A `Sequences` is a dict of arrays, its columns. R rows, each a stretch of at most L consecutive
steps of one environment copy, N agents, observations of shape O, actions of shape C (no axis for
`Discrete`), H action components of at most A values each, a global state of S numbers:

    OBS          [R, L+1, N, *O]     what the agents saw; the last one follows the last action
    STATE        [R, L+1, S]         the global state, any numbers after a termination; absent
                                     unless the algorithm asks for it
    ACTION_MASK  [R, L+1, N, H, A]   bool, legal actions; the column is absent if all are legal
    ACTIVE       [R, L+1, N]         bool, False for an agent whose part of the episode is over
    ACTIONS      [R, L, N, *C]       as the module chose them: indices from 0 if discrete, before
                                     unsquashing if continuous; 0 for an inactive agent
    REWARDS      [R, L, N]
    COSTS        [R, L, N]           of the problem's constraint; absent unless asked for
    TERMINATED   [R]                 bool, the row's last step ended the episode; a truncated
                                     episode did not end here and is bootstrapped
    LENGTH       [R]                 int, the number of valid steps, 1 to L
    FIRST        [R]                 bool, the row starts an episode
    HIDDEN       [R, N, *hidden]     recurrent state before the row's first step; absent for
                                     feed-forward modules

Where agents' spaces differ, O, C, H and A are the largest, and `own_spaces` cuts an agent's own.

Any other column is per step, [R, L, N, ...]: further module outputs such as log-probabilities.

Steps after the row's end are zero in every column: index LENGTH is the last one that holds an
observation, and past it the ACTION_MASK allows nothing. Valid observations always have at least
one legal action per component (for an inactive agent exactly action 0).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

OBS = "obs"
STATE = "state"
ACTION_MASK = "action_mask"
ACTIVE = "active"
ACTIONS = "actions"
REWARDS = "rewards"
COSTS = "costs"
TERMINATED = "terminated"
LENGTH = "length"
FIRST = "first"
HIDDEN = "hidden"

PER_OBSERVATION = frozenset({OBS, STATE, ACTION_MASK, ACTIVE})  # time axis of L + 1
PER_ROW = frozenset({TERMINATED, LENGTH, FIRST, HIDDEN})  # no time axis; all others have L


def time_axis(name: str, num_steps: int) -> int | None:
    """How long the time axis of column `name` is in rows of `num_steps`; None if it has none."""
    if name in PER_ROW:
        return None
    return num_steps + 1 if name in PER_OBSERVATION else num_steps


@dataclass
class Sequences:
    """R rows of at most L steps; `columns` are described above.

    To RLlib it looks like an episode: `env_steps()` and `agent_steps()` are what
    `synchronous_parallel_sample` and `Algorithm.evaluate` ask for. `len()` is R.
    """

    columns: dict[str, np.ndarray]

    @classmethod
    def concatenate(cls, parts: Iterable[Sequences]) -> Sequences:
        """All rows of `parts`, padded with zeros to the longest L among them.

        Raises:
            ValueError: if there is nothing to concatenate, or the columns differ.
        """
        parts = list(parts)
        if not parts:
            raise ValueError("there are no sequences to concatenate")
        names = parts[0].columns.keys()
        for part in parts:
            if part.columns.keys() != names:
                raise ValueError(
                    f"sequences have different columns: {sorted(names)} and {sorted(part.columns)}"
                )
        if len(parts) == 1:
            return parts[0]
        longest = max(part.num_steps for part in parts)
        return cls(
            {
                name: np.concatenate(
                    [_padded(part.columns[name], time_axis(name, longest)) for part in parts]
                )
                for name in names
            }
        )

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __len__(self) -> int:
        return len(self.columns[LENGTH])

    @property
    def num_steps(self) -> int:
        """L, the length of the time axis of ACTIONS and REWARDS."""
        return self.columns[REWARDS].shape[1]

    def rows(self, index: np.ndarray | slice) -> Sequences:
        """The rows that `index` selects, trimmed to the longest of them."""
        length = self.columns[LENGTH][index]
        longest = int(length.max()) if length.size else 0
        return Sequences(
            {
                name: column[index]
                if time_axis(name, longest) is None
                else column[index, : time_axis(name, longest)]
                for name, column in self.columns.items()
            }
        )

    def valid(self) -> np.ndarray:
        """Which steps happened, [R, L] bool: the loss mask."""
        return np.arange(self.num_steps) < self.columns[LENGTH][:, None]

    def env_steps(self) -> int:
        """Number of environment steps in all rows."""
        return int(self.columns[LENGTH].sum())

    def agent_steps(self) -> int:
        """Number of steps in all rows, counted once per agent that was active."""
        return int(self.columns[ACTIVE][:, :-1][self.valid()].sum())


def _padded(column: np.ndarray, length: int | None) -> np.ndarray:
    """`column` with its time axis lengthened to `length` by zeros."""
    if length is None or column.shape[1] == length:
        return column
    wide = np.zeros((len(column), length, *column.shape[2:]), column.dtype)
    wide[:, : column.shape[1]] = column
    return wide
