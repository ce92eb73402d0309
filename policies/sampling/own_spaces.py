"""Which part of the common arrays belongs to the agents of one policy.

Agents that share a policy have equal spaces; those of different policies may not. The common
arrays then have room for the largest, and what is told to a module, or learned from, is cut to its
own. Where all spaces are equal, nothing is cut or copied.
"""

from collections.abc import Mapping
from math import prod

import numpy as np
from gymnasium.spaces import Space

from marlserve.policies.sampling.actions import ActionArrays
from marlserve.policies.sampling.sequences import ACTION_MASK, ACTIONS, OBS


class OwnSpaces:
    """The spaces of the agents of one policy.

    Attributes:
        observation_space: of each of them.
        action_space: likewise.
        arrays: of its actions.
    """

    def __init__(self, observation_space: Space, action_space: Space):
        self.observation_space, self.action_space = observation_space, action_space
        self._shape = tuple(observation_space.shape or ())
        self.arrays = ActionArrays(action_space)

    def observations(self, values: np.ndarray, lead: int) -> np.ndarray:
        """Observations with `lead` leading axes, [..., *O], as [..., *observation_space.shape]."""
        return own(values, lead, self._shape)

    def actions(self, values: np.ndarray, lead: int) -> np.ndarray:
        """Actions with `lead` leading axes, [..., *C], as the module chose them."""
        return own(values, lead, self.arrays.shape).astype(self.arrays.dtype, copy=False)

    def masks(self, values: np.ndarray) -> np.ndarray | None:
        """Masks [..., H, A] with the components and choices of the action space; None for `Box`."""
        if self.arrays.legal is None:
            return None
        num_components, num_choices = self.arrays.legal.shape
        return values[..., :num_components, :num_choices]

    def columns(self, columns: dict[str, np.ndarray], lead: int) -> dict[str, np.ndarray]:
        """Columns of rows of these agents, with `lead` leading axes, cut to their own spaces."""
        result = {
            **columns,
            OBS: self.observations(columns[OBS], lead),
            ACTIONS: self.actions(columns[ACTIONS], lead),
        }
        if ACTION_MASK in columns:
            mask = self.masks(result.pop(ACTION_MASK))
            if mask is not None:
                result[ACTION_MASK] = mask
        return result


def own(values: np.ndarray, lead: int, shape: tuple[int, ...]) -> np.ndarray:
    """The first numbers after `lead` leading axes, in this shape; as they are if it is theirs."""
    if values.shape[lead:] == shape:
        return values
    return values[..., : prod(shape)].reshape((*values.shape[:lead], *shape))


def own_spaces(
    groups: Mapping[str, np.ndarray],
    agents: tuple[str, ...],
    observation_spaces: Mapping[str, Space],
    action_spaces: Mapping[str, Space],
) -> dict[str, OwnSpaces]:
    """The spaces of every policy.

    Args:
        groups: {module_id: indices of its agents}.
        agents: their names.
        observation_spaces: {agent: space}.
        action_spaces: {agent: space}.

    Raises:
        ValueError: if two agents of one policy have different spaces.
    """
    result = {}
    for module_id, index in groups.items():
        first, *others = (agents[i] for i in index)
        for kind, spaces in (("observation", observation_spaces), ("action", action_spaces)):
            for other in others:
                if spaces[other] != spaces[first]:
                    raise ValueError(
                        f"{first} and {other} share policy {module_id!r}, but the {kind} space of "
                        f"{first} is {spaces[first]}, and that of {other} is {spaces[other]}; give "
                        "them policies of their own with .multi_agent(policies=..., "
                        "policy_mapping_fn=...), or make their spaces equal, as SuperSuit's "
                        "pad_observations_v0 and pad_action_space_v0 do"
                    )
        result[module_id] = OwnSpaces(observation_spaces[first], action_spaces[first])
    return result
