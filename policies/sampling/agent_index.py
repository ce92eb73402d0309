"""Agents that see which of them they are: a one-hot index at the end of what they observe.

Agents of one policy that see alike act alike. Where they should share out work, they must see what
tells them apart. EPyMARL shows it by default, as obs_agent_id.

It is a part of the observation, so modules, replay and learners need not know of it, and
`observation_space` says that it is there. The order of the agents is the environment's, whatever
policies play them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Space

from marlserve.policies.sampling.batch_env import BatchEnv

# In a module's model_config: the agents in order, if it sees their index.
INDEXED_AGENTS = "indexed_agents"


class IndexedBatch:
    """A batch environment whose observations [B, N, O] become [B, N, O + N].

    All else is that of the batch environment within.

    Raises:
        ValueError: for observations that are not flat `Box`, or not alike for all agents.
    """

    def __init__(self, batch: BatchEnv):
        self._batch = batch
        spaces = [batch.observation_spaces[agent] for agent in batch.agents]
        for agent, space in zip(batch.agents, spaces, strict=True):
            if space != spaces[0]:
                raise ValueError(
                    f"observe_agent_index needs agents that observe alike; {batch.agents[0]} has "
                    f"{spaces[0]}, and {agent} has {space}"
                )
        indexed_space = with_index(spaces[0], len(spaces))
        self.observation_spaces = dict.fromkeys(batch.agents, indexed_space)
        index = np.eye(len(spaces), dtype=np.float32)
        self._index = np.tile(index, (batch.num_envs, 1, 1))  # [B, N, N]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def reset(
        self,
        seeds: Sequence[int | None] | None = None,
        copies: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        return self._indexed(self._batch.reset(seeds, copies))

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        observations, rewards, terminated, truncated = self._batch.step(actions)
        return self._indexed(observations), rewards, terminated, truncated

    def _indexed(self, observations: np.ndarray) -> np.ndarray:
        return np.concatenate([observations, self._index], axis=-1, dtype=np.float32)


def with_index(space: Space, num_agents: int) -> Box:
    """The space of observations with an index.

    Raises:
        ValueError: if the space is not a flat `Box`.
    """
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise ValueError(
            f"observe_agent_index needs a Box of one axis; the observation space is {space}"
        )
    low, high = np.zeros(num_agents), np.ones(num_agents)
    return Box(
        np.concatenate([space.low, low]).astype(np.float32),
        np.concatenate([space.high, high]).astype(np.float32),
        dtype=np.float32,
    )


def indexed(observation: np.ndarray, agent: str, agents: Sequence[str]) -> np.ndarray:
    """One agent's observation [..., O], with its index among `agents`: [..., O + N].

    Raises:
        ValueError: if there is no such agent.
    """
    if agent not in agents:
        raise ValueError(f"there is no agent {agent!r}; there are {list(agents)}")
    index = np.zeros((*observation.shape[:-1], len(agents)), np.float32)
    index[..., list(agents).index(agent)] = 1.0
    return np.concatenate([observation, index], axis=-1, dtype=np.float32)
