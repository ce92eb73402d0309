"""What a program's file says of who observes and plays what.

    input_size, act_dim (of algorithm_parameters)    a Box without bounds, and Discrete; with td3,
                                                     a Box from -act_limit to act_limit
    observation_space, action_space                  in their place: JSON, as in a policy file
    action_masks                                     it is said with observations what is legal
    agents                                           {agent: policy}, who acts together in each step
    policies                                         {policy: {"observation_space": ..., ...}} of
                                                     those that have spaces of their own

Where a space is not said, it is that of all.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Space

from marlserve.policies.export import spaces
from marlserve.policies.export.network import ANYONE
from marlserve.policies.export.spaces import Choices, actions_of
from marlserve.serving.wire.program import Program
from marlserve.serving.wire.seats import MASK, OBSERVATIONS

SPACES = ("input_size", "act_dim")
_OBSERVED, _PLAYED = "observation_space", "action_space"


def spaces_of(program: Program) -> dict[str, tuple[Space, Space]]:
    """What is observed and played by each agent, or by ANYONE.

    Raises:
        ValueError: if the file does not say so, or says of policies that nobody has.
    """
    if program.agents is None:
        if program.policies:
            raise ValueError(f"policies are {sorted(program.policies)}, and no agents are named")
        return {ANYONE: _both(program, {})}
    if idle := sorted(set(program.policies) - set(program.agents.values())):
        raise ValueError(f"policies {idle} play for nobody; agents are {program.agents}")
    own = {
        policy: _both(program, program.policies.get(policy, {}))
        for policy in program.agents.values()
    }
    return {agent: own[policy] for agent, policy in program.agents.items()}


def _both(program: Program, own: Mapping[str, Any]) -> tuple[Space, Space]:
    if unknown := sorted(set(own) - {_OBSERVED, _PLAYED}):
        raise ValueError(f"a policy has {unknown}; known are {[_OBSERVED, _PLAYED]}")
    observed, played = _observed(program, own.get(_OBSERVED)), _played(program, own.get(_PLAYED))
    if not program.action_masks:
        return observed, played
    actions = actions_of(played)
    if not isinstance(actions, Choices):
        raise ValueError(f"action_masks is true, and the action space is {played}")
    return Dict({OBSERVATIONS[0]: observed, MASK: MultiBinary(actions.legal.shape)}), played


def _observed(program: Program, own: Any) -> Box:
    said = program.observation_space if own is None else own
    if said is None:
        size = _size(program, "input_size", _OBSERVED)
        return Box(-np.inf, np.inf, (size,), np.float32)
    given = spaces.from_json(said)
    if not isinstance(given, Box):
        raise ValueError(f"the observation space is {given}; it must be a Box")
    return given


def _played(program: Program, own: Any) -> Any:
    said = program.action_space if own is None else own
    if said is not None:
        return spaces.from_json(said)
    size = _size(program, "act_dim", _PLAYED)
    if program.algorithm_name == "td3":
        return Box(-program.act_limit, program.act_limit, (size,), np.float32)
    return Discrete(size)


def _size(program: Program, name: str, instead: str) -> int:
    size = program.algorithm_parameters.get(name)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ValueError(f"{name} is {size!r}; allowed is at least 1, or give {instead}")
    return size
