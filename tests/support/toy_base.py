"""What the toy environments of `toys` share."""

import numpy as np
from pettingzoo import ParallelEnv


class Toy(ParallelEnv):
    """Agents a0, a1, ... with equal spaces; `self.random` is made by the seed of a reset."""

    render_mode = None

    def __init__(self, num_agents: int, observation_space, action_space):
        self.metadata = {"name": type(self).__name__}
        self.possible_agents = [f"a{i}" for i in range(num_agents)]
        self.agents = []
        self._observation_space, self._action_space = observation_space, action_space
        self.random = np.random.default_rng()
        self.seeds = []  # of all resets so far

    def observation_space(self, agent):
        return self._observation_space

    def action_space(self, agent):
        return self._action_space

    def reset(self, seed=None, options=None):
        self.seeds.append(seed)
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self.time = 0
        self.start()
        return self.observations(), {agent: {} for agent in self.agents}

    def start(self):
        """Begin an episode."""

    def outcome(self, rewards, terminated=False, truncated=False):
        """What `step` returns if all living agents share one fate."""
        result = (
            self.observations(),
            dict(zip(self.agents, rewards, strict=True)),
            dict.fromkeys(self.agents, terminated),
            dict.fromkeys(self.agents, truncated),
            {agent: {} for agent in self.agents},
        )
        if terminated or truncated:
            self.agents = []
        return result

    def close(self):
        pass
