"""A tiny PettingZoo parallel environment in which agents see alike and shall act differently."""

import numpy as np
from gymnasium.spaces import Box, Discrete
from toy_base import Toy


class Roles(Toy):
    """One step: agent i earns 1 for action i. Nobody sees anything, so alike agents earn 1 in all.

    The agents' names are not in the order of their numbers.
    """

    def __init__(self):
        super().__init__(3, Box(0, 1, (2,), np.float32), Discrete(3))
        self.possible_agents = ["third", "first", "second"]

    def observations(self):
        return {agent: np.zeros(2, np.float32) for agent in self.possible_agents}

    def step(self, actions):
        rewards = [float(actions[agent] == i) for i, agent in enumerate(self.possible_agents)]
        return self.outcome(rewards, terminated=True)
