"""One agent's observations as a `Box`: masks are taken apart, other spaces flattened."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, flatdim, flatten

_KEYS = ("observation", "observations")


class ObservationReader:
    """Reads what an agent with this observation space is shown.

    A `Box` is read as it is; a `Dict` of "observation" (or "observations") and "action_mask" is
    taken apart; what else there is, is flattened as Gymnasium does it.

    Attributes:
        space: of the numbers that are read; shape, dtype: its own.
        has_mask: whether observations hold the action mask.

    Raises:
        ValueError: for a `Dict` with a mask and no observation beside it.
    """

    def __init__(self, space: gymnasium.Space):
        self._key: str | None = None
        if isinstance(space, Dict) and "action_mask" in space.spaces:
            self._key = next((key for key in _KEYS if key in space.spaces), None)
            if self._key is None:
                raise ValueError(
                    f"observation space has the keys {sorted(space.spaces)}; beside 'action_mask' "
                    f"one of {_KEYS} is needed"
                )
            space = space[self._key]
        self.has_mask = self._key is not None
        self._flatten = None if isinstance(space, Box) else space
        if not isinstance(space, Box):
            space = Box(-np.inf, np.inf, (flatdim(space),), np.float32)
        self.space: Box = space
        self.shape = tuple(space.shape)
        self.dtype = np.dtype(space.dtype)

    def numbers(self, seen: Any) -> np.ndarray:
        """The observation without its mask, [*space.shape]."""
        if self._key is not None:
            seen = seen[self._key]
        return seen if self._flatten is None else np.asarray(flatten(self._flatten, seen))
