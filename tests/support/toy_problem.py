"""A tiny array problem, `Drift`, and its PettingZoo view, `drift`."""

from dataclasses import dataclass

import numpy as np
from gymnasium.spaces import Box, Discrete

from marlserve.envs.base import Problem
from marlserve.envs.parallel import ParallelView


@dataclass(frozen=True)
class DriftConfig:
    """`num_steps` of an episode; `limit` of the position that ends it early; `num_agents`."""

    num_steps: int = 7
    limit: float = 2.0
    num_agents: int = 2
    crash_at: int | None = None


class Drift(Problem):
    """A random walk that the agents push; it terminates beyond the limit, as an array problem."""

    name = "drift"

    def __init__(self, config: DriftConfig, num_envs: int = 1):
        super().__init__(config, num_envs)
        self.agents = tuple(f"pusher_{i}" for i in range(config.num_agents))
        self.observation_space = Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = Discrete(3)
        self.state_space = Box(-np.inf, np.inf, (1,), np.float32)
        self.position, self.time = np.zeros(num_envs), np.zeros(num_envs, np.int64)
        self.steps = 0

    def _start(self, copies):
        self.position[copies] = [self.generators[copy].normal() for copy in copies]
        self.time[copies] = 0

    def _advance(self, actions):
        self.steps += 1
        if self.steps == self.config.crash_at:
            raise RuntimeError("the toy crashed, as it should")
        noise = np.array([generator.normal() for generator in self.generators])
        self.position += 0.3 * noise + 0.3 * (actions - 1).sum(1)
        self.time += 1
        rewards = np.repeat(-np.abs(self.position)[:, None], len(self.agents), 1)
        terminated = np.abs(self.position) > self.config.limit
        return (
            rewards.astype(np.float32),
            terminated,
            ~terminated & (self.time == self.config.num_steps),
        )

    def observations(self):
        shown = np.zeros((self.num_envs, len(self.agents), 2), np.float32)
        shown[..., 0] = self.position[:, None]
        shown[..., 1] = np.arange(len(self.agents))
        return shown

    def state(self):
        return self.position[:, None].astype(np.float32)

    def action_masks(self):
        """Nobody pushes outwards on the far side."""
        masks = np.ones((self.num_envs, len(self.agents), 1, 3), bool)
        masks[self.position > 1, ..., 2] = False
        masks[self.position < -1, ..., 0] = False
        return masks

    def metrics(self):
        return {"distance_m": np.abs(self.position), "duration_s": self.time.astype(float)}


def drift(max_cycles: int | None = None, **config) -> ParallelView:
    return ParallelView(Drift(DriftConfig(**config)), max_cycles=max_cycles)
