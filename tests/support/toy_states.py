"""Environments whose global state is not always there."""

import numpy as np
from gymnasium.spaces import Box
from toys import Counting


class Stateless(Counting):
    """Has a state space and no state."""

    state_space = Box(-np.inf, np.inf, (1,), np.float32)

    def state(self):
        raise RuntimeError("there is no state, as it should")


class Mortal(Counting):
    """Its state is the step, and gone when the episode has terminated."""

    state_space = Box(0, np.inf, (1,), np.float32)

    def state(self):
        if self.terminates and not self.agents:
            raise RuntimeError("there is no state, as it should")
        return np.array([self.time], np.float32)
