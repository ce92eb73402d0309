"""The agents of a contract as algorithms of several agents know them, and their policies.

Which policy plays for which agent, says the config's `policy_mapping_fn`; where the contract has a
seat for anyone, whoever lives through an episode is one agent, "agent".
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES

from marlserve.policies.export.exploring import explored
from marlserve.policies.export.modules import exported
from marlserve.policies.export.network import ANYONE, PolicyFile
from marlserve.policies.export.noise import Noise
from marlserve.policies.sampling.acting import Actor, configured_groups
from marlserve.policies.sampling.agent_index import with_index
from marlserve.policies.sampling.joint_actions import joint_actions
from marlserve.policies.sampling.own_spaces import own_spaces
from marlserve.policies.sampling.runner import MIXER
from marlserve.policies.training.base import PolicyConfig
from marlserve.serving.wire.seats import Seat

_ANY_AGENT = "agent"


class Joint:
    """See the module.

    Attributes:
        agents: their names, in the order of all arrays.
        groups: {module_id: indices of its agents}.
        own: {module_id: spaces of its agents}.
        actions: of all of them.
        observation_spaces: {agent: what its module sees}, the index of the agent included.

    Raises:
        ValueError: for a mapping to unknown policies, agents of one policy whose spaces differ, and
            an index where agents are not named, or do not observe alike.
    """

    def __init__(self, config: AlgorithmConfig, seats: Mapping[str, Seat], state_size: int):
        self._config, self._state_size = config, state_size
        self.is_for_anyone = ANYONE in seats
        named = {_ANY_AGENT if name == ANYONE else name: seat for name, seat in seats.items()}
        self.seats, self.agents = tuple(named.values()), tuple(named)
        self.observation_spaces = {name: seat.observation_space for name, seat in named.items()}
        self.has_index = getattr(config, "observe_agent_index", False)  # of ours
        if self.has_index:
            self._add_index()
        action_spaces: dict[str, Space] = {name: x.action_space for name, x in named.items()}
        self.groups = configured_groups(self.agents, config)
        self.own = own_spaces(self.groups, self.agents, self.observation_spaces, action_spaces)
        self.actions = joint_actions(
            list(action_spaces.values()), config.normalize_actions, config.clip_actions
        )
        self._action_spaces = action_spaces

    def _add_index(self) -> None:
        first, *others = self.observation_spaces.values()
        if self.is_for_anyone or any(space != first for space in others):
            raise ValueError(
                "observe_agent_index takes agents that are named, and observe alike; the agents "
                f"are {self.observation_spaces}"
            )
        indexed = with_index(first, len(self.agents))
        self.observation_spaces = dict.fromkeys(self.agents, indexed)

    def spaces(self) -> dict[str, Any]:
        """What `get_spaces` of an env runner gives."""
        seen, played = (
            Dict(OrderedDict((agent, spaces[agent]) for agent in self.agents))
            for spaces in (self.observation_spaces, self._action_spaces)
        )
        state = Box(-np.inf, np.inf, (self._state_size,), np.float32) if self._state_size else None
        mixer = {MIXER: (state, None)} if isinstance(self._config, PolicyConfig) else {}
        return {
            INPUT_ENV_SPACES: (seen, played),
            INPUT_ENV_SINGLE_SPACES: (seen, played),
            **mixer,
            **{name: (x.observation_space, x.action_space) for name, x in self.own.items()},
        }

    def module(self) -> MultiRLModule:
        """The policies, with weights as they begin.

        Raises:
            ValueError: for spaces that the algorithm cannot play.
        """
        spec = self._config.get_multi_rl_module_spec(spaces=self.spaces(), inference_only=True)
        return spec.build()

    def policies(
        self, module: MultiRLModule, training: dict[str, Any]
    ) -> tuple[PolicyFile, dict[str, Noise]]:
        """The policy of all agents, and how it explores, by the name of the network.

        Raises:
            ValueError: for a module that cannot be exported.
        """
        normalize, clip = self._config.normalize_actions, self._config.clip_actions
        networks, noises = {}, {}
        for name in self.groups:
            own = module[name].unwrapped()
            network, noise = explored(own, exported(own, normalize, clip))
            networks[name] = network
            if noise is not None:
                noises[name] = noise
        played = {
            self.agents[agent]: name for name, index in self.groups.items() for agent in index
        }
        if self.is_for_anyone:
            played = {ANYONE: played[_ANY_AGENT]}
        return PolicyFile(networks, played, training), noises

    def memory_sizes(self, module: MultiRLModule) -> list[int]:
        """How many numbers each agent's policy remembers.

        Raises:
            ValueError: where policies remember in different shapes.
        """
        memory = self.first_memory(module)
        sizes = [0] * len(self.agents)
        for name, index in self.groups.items():
            if memory is not None and module[name].unwrapped().is_stateful():
                for agent in index:
                    sizes[agent] = memory[agent].size
        return sizes

    def first_memory(self, module: MultiRLModule) -> np.ndarray | None:
        """What they remember as an episode begins, [N, *hidden]; None if nobody does.

        Raises:
            ValueError: where policies remember in different shapes.
        """
        modules = {name: module[name].unwrapped() for name in self.groups}
        return Actor(modules, self.groups, self.own, 1, self.actions).initial_hidden
