"""A tiny PettingZoo parallel environment that asks for memory, in every action space."""

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from toy_base import Toy


class Echo(Toy):
    """Each agent sees a cue at the first step only, and shall repeat it at every step.

    A perfect episode earns 1, each step its share. `space` is "discrete" (one of 3 cues),
    "multi_discrete" (2 and 3 values, half a share for each) or "box" (-0.5 or 0.5: a share less
    four times the squared distance, so that 0 earns nothing). Without memory at most
    (1 + (length - 1) * g) / length is earned, with g = 1/3, 5/12 or 0.
    """

    def __init__(self, num_agents: int = 1, space: str = "discrete", length: int = 4):
        action_space = {
            "discrete": Discrete(3),
            "multi_discrete": MultiDiscrete([2, 3]),
            "box": Box(-1, 1, (1,), np.float32),
        }[space]
        self.width = {"discrete": 3, "multi_discrete": 2, "box": 1}[space]
        super().__init__(num_agents, Box(-1, 2, (self.width + 1,), np.float32), action_space)
        self.space, self.length = space, length

    def start(self):
        high = {"discrete": 3, "multi_discrete": [2, 3], "box": 2}[self.space]
        shape = (len(self.possible_agents), *self._action_space.shape)
        self.cues = self.random.integers(high, size=shape)
        if self.space == "box":
            self.cues = self.cues - 0.5

    def observations(self):
        seen = {}
        for agent, cue in zip(self.possible_agents, self.cues, strict=True):
            shown = np.eye(3)[cue] if self.space == "discrete" else cue
            first = float(self.time == 0)
            seen[agent] = np.append(first * shown, first).astype(np.float32)
        return seen

    def step(self, actions):
        rewards = []
        for agent, cue in zip(self.agents, self.cues, strict=True):
            if self.space == "box":
                share = 1.0 - 4.0 * float(np.square(actions[agent] - cue).mean())
            else:
                share = float(np.mean(actions[agent] == cue))
            rewards.append(share / self.length)
        self.time += 1
        return self.outcome(rewards, terminated=self.time == self.length)
