"""Agents that differ in what they see and in how they act."""

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from toy_base import Toy

OBSERVATIONS = {
    "a0": Box(-np.inf, np.inf, (3,), np.float32),
    "a1": Box(-np.inf, np.inf, (2, 2), np.float32),
    "a2": Box(-np.inf, np.inf, (1,), np.float32),
    "a3": Box(-np.inf, np.inf, (1,), np.float32),
}
ACTIONS = {
    "a0": Discrete(2),
    "a1": MultiDiscrete([2, 4]),
    "a2": Discrete(3, start=5),
    "a3": Box(2, 6, (2,), np.float32),
}


class Unequal(Toy):
    """Each agent sees random numbers, and earns 1 for each part of its action that copies them.

    Of its numbers, in their order, a0 copies the first one, a1 the first two, a2 its only one, and
    a3 twice the same. `num_agents` of 3 leaves the only one with continuous actions out. With
    `masks`, whoever has choices is told that the first of them is legal, and the second.
    """

    def __init__(self, num_agents: int = 4, length: int = 5, masks: bool = False):
        super().__init__(num_agents, None, None)
        self.length, self.masks = length, masks

    def observation_space(self, agent):
        return OBSERVATIONS[agent]

    def action_space(self, agent):
        return ACTIONS[agent]

    def start(self):
        draw = self.random.integers
        self.wanted = {
            "a0": np.array([draw(2), 7, 8], np.float32),
            "a1": np.array([[draw(2), draw(2)], [7, 8]], np.float32),
            "a2": np.array([5 + draw(2)], np.float32),
            "a3": np.array([self.random.uniform(2, 6)], np.float32),
        }

    def observations(self):
        return {agent: self.wanted[agent] for agent in self.possible_agents}

    def infos(self):
        sizes = {"a0": [2], "a1": [2, 4], "a2": [3]}
        legal = {a: np.concatenate([np.arange(n) < 2 for n in x]) for a, x in sizes.items()}
        return {a: {"action_mask": legal[a]} if a in legal else {} for a in self.agents}

    def reset(self, seed=None, options=None):
        observations, infos = super().reset(seed, options)
        return observations, self.infos() if self.masks else infos

    def step(self, actions):
        rewards = []
        for agent in self.agents:
            if not ACTIONS[agent].contains(actions[agent]):
                raise ValueError(f"action of {agent} is {actions[agent]!r}")
            wanted = self.wanted[agent].ravel()
            errors = np.abs(np.ravel(actions[agent]) - wanted[: np.size(actions[agent])])
            rewards.append(float((errors < 1e-6).sum() if agent != "a3" else -errors.mean()))
        infos = self.infos() if self.masks else {agent: {} for agent in self.agents}
        self.start()
        self.time += 1
        observations, rewards, terminated, truncated, _ = self.outcome(
            rewards, truncated=self.time == self.length
        )
        return observations, rewards, terminated, truncated, infos


class OfDiscrete(Unequal):
    """Only those with one choice of several: a0 and a2."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.possible_agents = ["a0", "a2"]
