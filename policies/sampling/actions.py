"""One action space, shared by all agents, as arrays: masks, random choices, what the env is told.

Modules choose indices from 0 (`Discrete`, `MultiDiscrete`) or numbers (`Box`). The environment
is told the values that its space asks for.
"""

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space


class ActionArrays:
    """Converts actions of `space`, with any leading axes.

    Attributes:
        shape: of one action, `C` of `sequences`.
        dtype: of the actions as modules choose them.
        legal: [H, A] bool, which of A = max choices each component has; None for `Box`.

    Args:
        space: `Box`, `Discrete` or `MultiDiscrete` of one axis.
        normalize: modules act in [-1, 1], which is stretched to the bounds of a bounded `Box`
            (RLlib's `normalize_actions`).
        clip: numbers outside a `Box` are moved to its bounds (RLlib's `clip_actions`).

    Raises:
        ValueError: for any other space.
    """

    def __init__(self, space: Space, normalize: bool = False, clip: bool = False):
        self.space, self.shape = space, tuple(space.shape or ())
        self.legal: np.ndarray | None = None
        self.dtype: np.dtype = np.dtype(np.float32)
        if isinstance(space, Box) and np.issubdtype(space.dtype, np.floating):
            self._box = space
            self._stretch = normalize and space.is_bounded()
            self._clip = clip or self._stretch
            return
        if isinstance(space, Discrete):
            counts, self._start = np.array([space.n]), space.start
        elif isinstance(space, MultiDiscrete) and space.nvec.ndim == 1:
            counts, self._start = space.nvec, space.start
        else:
            raise ValueError(
                f"action space is {space}; allowed are Box of floats, Discrete and MultiDiscrete "
                "of one axis"
            )
        self.dtype = np.dtype(np.int64)
        self.legal = np.arange(counts.max()) < counts[:, None]  # [H, A]

    @property
    def needs_mask(self) -> bool:
        """Whether some components have fewer choices than others."""
        return self.legal is not None and not self.legal.all()

    def to_env(self, actions: np.ndarray) -> np.ndarray:
        """The values that the environment is told, [..., *C]."""
        if self.legal is not None:
            return actions + self._start
        low, high = self._box.low, self._box.high
        if self._stretch:
            actions = low + (actions + 1.0) * (high - low) / 2.0
        if self._clip:
            actions = np.clip(actions, low, high)
        return actions.astype(self._box.dtype, copy=False)

    def random(
        self, generator: np.random.Generator, leading: tuple[int, ...], mask: np.ndarray | None
    ) -> np.ndarray:
        """Uniform legal choices, [*leading, *C], as a module would give them.

        Unbounded numbers are drawn from a standard normal distribution, truncated where one
        bound exists.

        Args:
            generator: the source of randomness.
            leading: shape of the leading axes.
            mask: [*leading, H, A] bool, or None if every choice of the space is legal.
        """
        if self.legal is not None:
            mask = np.broadcast_to(
                self.legal if mask is None else mask, (*leading, *self.legal.shape)
            )
            weight = np.where(mask, generator.random(mask.shape), -1.0)
            return weight.argmax(-1).astype(self.dtype).reshape(*leading, *self.shape)
        size = (*leading, *self.shape)
        if self._stretch:
            return generator.uniform(-1.0, 1.0, size).astype(self.dtype)
        low, high = self._box.low, self._box.high
        if self._box.is_bounded():
            return generator.uniform(low, high, size).astype(self.dtype)
        return np.clip(generator.standard_normal(size), low, high).astype(self.dtype)
