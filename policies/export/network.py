"""What a policy file holds, in memory: networks, and which agent each of them plays for."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from marlserve.policies.export import spaces
from marlserve.policies.export.layers import Layer, check

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

    Raises:
        ValueError: if anything of this does not fit together.
    """

    observation_space: Box
    action_space: Box | Discrete | MultiDiscrete
    layers: tuple[Layer, ...]
    weights: dict[str, np.ndarray]
    outputs: str
    stretch: bool = False
    clip: bool = False
    features: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        shape, heads = self.observation_space.shape, spaces.heads(self.action_space)
        check(self.layers, self.weights, shape)
        size = int(np.prod(heads))
        if not self.layers or int(np.prod(self.layers[-1].shape)) != size:
            given = self.layers[-1].shape if self.layers else "nothing"
            raise ValueError(
                f"the last layer gives {given}; {self.action_space} needs {size} numbers"
            )
        if self.outputs not in OUTPUTS:
            raise ValueError(f"outputs are {self.outputs!r}; allowed are {OUTPUTS}")
        is_box = isinstance(self.action_space, Box)
        if is_box != (self.outputs == "numbers") or (self.stretch and not is_box):
            raise ValueError(f"outputs are {self.outputs!r}, which {self.action_space} cannot take")
        if self.stretch and not self.action_space.is_bounded():
            raise ValueError(f"{self.action_space} has no bounds to stretch actions to")
        if self.features and len(self.features) != (shape or (1,))[-1]:
            raise ValueError(
                f"there are {len(self.features)} features; observations have shape {shape}"
            )


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
