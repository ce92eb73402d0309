"""Joint actions at the door of a problem: in the dtype of the space, or an error.

Actions are numbers: truth values, texts, complex numbers and objects are errors, also where numpy
would make numbers of them. Whole floats may stand for integers. Nothing is clipped or rounded.
"""

from collections.abc import Sequence

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete

_NUMBERS = "iuf"  # kinds of dtype: integers, with or without a sign, and floats


def are_numbers(action: np.ndarray) -> bool:
    """Whether an array holds integers or floats."""
    return action.dtype.kind in _NUMBERS


def checked(
    actions: np.ndarray, space: gymnasium.Space, agents: Sequence[str], num_envs: int
) -> np.ndarray:
    """The actions [B, N, *space.shape] in the dtype of the space.

    Raises:
        ValueError: for a wrong shape, what is no number, or an action outside the space; the
            message names the agent and the value.
    """
    actions = np.asarray(actions)
    expected = (num_envs, len(agents), *(space.shape or ()))
    if actions.shape != expected:
        raise ValueError(f"actions have shape {actions.shape}; expected {expected}")
    if not are_numbers(actions):
        raise ValueError(f"actions have dtype {actions.dtype}; allowed are integers and floats")
    if isinstance(space, Box):
        actions = actions.astype(space.dtype, copy=False)  # a bound such as 0.1 has its dtype
        bad = ~((actions >= space.low) & (actions <= space.high))  # NaN compares false
    else:
        low, count = _discrete_range(space)
        bad = (actions < low) | (actions >= low + count)
        if actions.dtype.kind == "f":
            bad |= actions != np.floor(actions)
    if bad.any():
        copy, agent = np.argwhere(bad)[0][:2]
        raise ValueError(
            f"action of {agents[agent]} is {actions[copy, agent].tolist()}; allowed is {space}"
        )
    return actions.astype(space.dtype, copy=False)


def _discrete_range(space: gymnasium.Space) -> tuple[np.ndarray, np.ndarray]:
    """First value and number of values of every component of a discrete space."""
    if isinstance(space, Discrete):
        return np.asarray(space.start), np.asarray(space.n)
    if isinstance(space, MultiDiscrete):
        return space.start, space.nvec
    raise TypeError(f"problems have Box, Discrete or MultiDiscrete actions, not {space}")
