"""What a policy file holds, in memory: networks, and which agent each of them plays for."""

from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from marlserve.policies.export.layers import Layer, check
from marlserve.policies.export.spaces import ActionSpace, Choices, Numbers, actions_of

ANYONE = "*"
OUTPUTS = ("action values", "logits", "expected rewards", "numbers")  # what they may mean


@dataclass(frozen=True)
class Network:
    """One network, and what it plays.

    Attributes:
        layers: see `layers`.
        weights: {"<layer>.<weight>": float32}.
        outputs: their meaning, one of OUTPUTS; "numbers" for `Box` actions, and only for these.
        stretch, clip: how numbers become an action.
        features: (name, unit) of each number on the last axis of an observation, or none.
        indexed_agents: agents that see which of them they are: an observation [O] is followed by
            as many numbers as they are, 1 at the agent's place in this order and 0 elsewhere.

    Raises:
        ValueError: if anything of this does not fit together.
    """

    observation_space: Box
    action_space: ActionSpace
    layers: tuple[Layer, ...]
    weights: dict[str, np.ndarray]
    outputs: str
    stretch: bool = False
    clip: bool = False
    features: tuple[tuple[str, str], ...] = ()
    indexed_agents: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = self.observation_space.shape
        if self.indexed_agents and len(shape) != 1:
            raise ValueError(f"observations have shape {shape}; an index follows only one axis")
        check(self.layers, self.weights, self.seen_shape)
        size = prod(self.actions.heads)
        if not self.layers or prod(self.layers[-1].shape) != size:
            given = self.layers[-1].shape if self.layers else "nothing"
            raise ValueError(
                f"the last layer gives {given}; {self.action_space} needs {size} numbers"
            )
        if self.outputs not in OUTPUTS:
            raise ValueError(f"outputs are {self.outputs!r}; allowed are {OUTPUTS}")
        is_box = isinstance(self.actions, Numbers)
        if is_box != (self.outputs == "numbers") or (self.stretch and not is_box):
            raise ValueError(f"outputs are {self.outputs!r}, which {self.action_space} cannot take")
        if self.stretch and isinstance(self.actions, Numbers) and not self.actions.is_bounded:
            raise ValueError(f"{self.action_space} has no bounds to stretch actions to")
        if self.features and len(self.features) != (shape or (1,))[-1]:
            raise ValueError(
                f"there are {len(self.features)} features; observations have shape {shape}"
            )

    @cached_property
    def actions(self) -> Choices | Numbers:
        """What there is to choose."""
        return actions_of(self.action_space)

    @property
    def seen_shape(self) -> tuple[int, ...]:
        """What the first layer reads: an observation, and the index that follows it, if any."""
        shape = self.observation_space.shape
        return (shape[0] + len(self.indexed_agents),) if self.indexed_agents else shape

    def index_of(self, agent: str) -> np.ndarray:
        """What follows the observation of this agent, [number of indexed agents] float32.

        Raises:
            ValueError: if there are such agents, and this is none.
        """
        if self.indexed_agents and agent not in self.indexed_agents:
            raise ValueError(
                f"agent {agent!r} has no index; the agents that have are {self.indexed_agents}"
            )
        return np.array([agent == other for other in self.indexed_agents], np.float32)


@dataclass(frozen=True)
class PolicyFile:
    """What a policy file holds.

    Attributes:
        networks: by the name of the policy, RLlib's module_id.
        agents: {agent: name of its network}; ANYONE stands for all that are not named.
        training: where the policy comes from, JSON.
    """

    networks: dict[str, Network]
    agents: dict[str, str]
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.agents.values()) - self.networks.keys())
        if unknown or not self.agents:
            raise ValueError(
                f"agents are played by {unknown or 'nobody'}; there are {sorted(self.networks)}"
            )

    def network_of(self, agent: str) -> str:
        """The name of the network that plays for this agent.

        Raises:
            ValueError: if there is none.
        """
        name = self.agents.get(agent, self.agents.get(ANYONE))
        if name is None:
            raise ValueError(f"agent {agent!r} has no policy; there are {sorted(self.agents)}")
        return name
