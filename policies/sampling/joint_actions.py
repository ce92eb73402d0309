"""The actions of agents with different action spaces, in one array.

Where all spaces are alike, `ActionArrays` serves all agents. Else the array is [..., N, C] with C
numbers of the longest action ([..., N] if every space is `Discrete`), zero past an agent's own.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
from gymnasium.spaces import Space

from marlserve.policies.sampling.actions import ActionArrays
from marlserve.policies.sampling.own_spaces import own


class JointActions:
    """To its callers what `ActionArrays` is, for N agents on the last axis before an action's own.

    Attributes:
        shape: of one action in the array.
        dtype: int64, or float32 if one of the spaces is a `Box`.
        legal: [N, H, A] bool, which choices each component has; only the first one where an agent
            has no such component. None if all spaces are `Box`.

    Args:
        spaces: one per agent.
        normalize, clip: see `ActionArrays`.

    Raises:
        ValueError: for a space that `ActionArrays` refuses.
    """

    def __init__(self, spaces: Sequence[Space], normalize: bool = False, clip: bool = False):
        indices: list[tuple[Space, list[int]]] = []
        for agent, space in enumerate(spaces):
            same = next((index for known, index in indices if known == space), None)
            if same is None:
                indices.append((space, [agent]))
            else:
                same.append(agent)
        self._parts = [
            (ActionArrays(space, normalize, clip), np.array(index)) for space, index in indices
        ]
        arrays = [part for part, _ in self._parts]
        self._num_agents = len(spaces)
        self.shape = (
            () if not any(a.shape for a in arrays) else (max(prod(a.shape) for a in arrays),)
        )
        discrete = all(each.legal is not None for each in arrays)
        self.dtype = np.dtype(np.int64 if discrete else np.float32)
        self.legal = self._all_legal()

    @property
    def needs_mask(self) -> bool:
        """Whether some components of an agent have fewer choices than others of the same agent."""
        return any(part.needs_mask for part, _ in self._parts)

    def to_env(self, actions: np.ndarray) -> np.ndarray:
        """The values that the environment is told, [..., N, *shape], padded with zeros."""
        lead = actions.ndim - len(self.shape)
        told = np.zeros(actions.shape, self.dtype)
        for part, index in self._parts:
            some = np.take(actions, index, lead - 1)
            self._put(told, index, lead, part.to_env(own(some, lead, part.shape)))
        return told

    def random(
        self, generator: np.random.Generator, leading: tuple[int, ...], mask: np.ndarray | None
    ) -> np.ndarray:
        """Uniform legal choices, [*leading, *shape], as modules would give them.

        Args:
            generator: the source of randomness.
            leading: shape of the leading axes, the last of them N.
            mask: [*leading, H, A] bool, or None if every choice of the spaces is legal.
        """
        actions = np.zeros((*leading, *self.shape), self.dtype)
        for part, index in self._parts:
            legal = None
            if mask is not None and part.legal is not None:
                num_components, num_choices = part.legal.shape
                legal = mask[..., index, :num_components, :num_choices]
            chosen = part.random(generator, (*leading[:-1], len(index)), legal)
            self._put(actions, index, len(leading), chosen)
        return actions

    def _put(self, wide: np.ndarray, index: np.ndarray, lead: int, actions: np.ndarray) -> None:
        """Write some agents' actions, [..., n, *own shape], into the common array."""
        if not self.shape:
            wide[..., index] = actions
            return
        flat = actions.reshape(*actions.shape[:lead], -1)
        wide[..., index, : flat.shape[-1]] = flat

    def _all_legal(self) -> np.ndarray | None:
        tables = [(part.legal, index) for part, index in self._parts if part.legal is not None]
        if not tables:
            return None
        widest = np.max([table.shape for table, _ in tables], axis=0)
        legal = np.zeros((self._num_agents, *widest), bool)
        legal[..., 0] = True
        for table, index in tables:
            legal[index, : table.shape[0], : table.shape[1]] = table
        return legal


def joint_actions(
    spaces: Sequence[Space], normalize: bool = False, clip: bool = False
) -> ActionArrays | JointActions:
    """The actions of agents with these spaces: `ActionArrays` if all are alike."""
    if all(space == spaces[0] for space in spaces):
        return ActionArrays(spaces[0], normalize, clip)
    return JointActions(spaces, normalize, clip)
