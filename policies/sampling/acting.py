"""From observations to actions: one forward pass per module for all copies and its agents."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.rl_module import RLModule

from marlserve.policies.sampling.actions import ActionArrays
from marlserve.policies.sampling.episodes import Episode
from marlserve.policies.sampling.joint_actions import JointActions
from marlserve.policies.sampling.module_actor import ModuleActor
from marlserve.policies.sampling.own_spaces import OwnSpaces

_H = "h"  # the one part of a hidden state that rows can hold


def agent_groups(
    agents: Sequence[str], policy_mapping_fn: Callable, episode: Any = None
) -> dict[str, np.ndarray]:
    """Which agents each module plays: {module_id: their indices in `agents`, ascending}."""
    groups: dict[str, list[int]] = {}
    for index, agent in enumerate(agents):
        groups.setdefault(policy_mapping_fn(agent, episode), []).append(index)
    return {module_id: np.array(indices) for module_id, indices in groups.items()}


def configured_groups(agents: tuple[str, ...], config: AlgorithmConfig) -> dict[str, np.ndarray]:
    """The same, by the config's mapping, asked with an episode of these agents.

    Raises:
        ValueError: for a mapping to a policy that the config does not have.
    """
    groups = agent_groups(agents, config.policy_mapping_fn, Episode(agents))
    if unknown := set(groups) - set(config.policies):
        raise ValueError(
            f"policy_mapping_fn gives {sorted(unknown)}; policies are {sorted(config.policies)}"
        )
    return groups


class _Part(NamedTuple):
    actor: ModuleActor
    agents: np.ndarray  # [n], their indices
    own: OwnSpaces


class Actor:
    """Chooses the actions of all agents of all copies, module by module.

    Args:
        modules: {module_id: module}; they are put in eval mode.
        groups: what `agent_groups` gives.
        own: {module_id: the spaces of its agents}.
        num_envs: B.
        actions: of all agents.
        device: where the modules are.
        keep: further per-step outputs to return, e.g. `Columns.ACTION_LOGP`.

    Attributes:
        initial_hidden: [N, *hidden], or None if no module is stateful. Agents of a feed-forward
            module beside stateful ones have zeros.

    Raises:
        ValueError: for an unknown module, or stateful modules whose hidden states do not fit.
    """

    def __init__(
        self,
        modules: dict[str, RLModule],
        groups: dict[str, np.ndarray],
        own: dict[str, OwnSpaces],
        num_envs: int,
        actions: ActionArrays | JointActions,
        device: torch.device | str = "cpu",
        keep: Sequence[str] = (),
    ):
        unknown = set(groups) - set(modules)
        if unknown:
            raise ValueError(
                f"policy_mapping_fn gives {sorted(unknown)}; there are modules {sorted(modules)}"
            )
        self._parts = [
            _Part(
                ModuleActor(module_id, modules[module_id], own[module_id].arrays, device, keep),
                index,
                own[module_id],
            )
            for module_id, index in groups.items()
        ]
        self._keep = tuple(keep)
        self._num_envs, self._num_agents = num_envs, sum(len(index) for index in groups.values())
        self._actions = actions
        self.initial_hidden = self._initial_hidden()

    @property
    def forgets(self) -> bool:
        """Whether `act` gives nothing but actions."""
        return self.initial_hidden is None and not self._keep

    def act(
        self,
        obs: np.ndarray,
        mask: np.ndarray | None,
        hidden: np.ndarray | None,
        explore: bool,
        t: int,
    ) -> tuple[np.ndarray, np.ndarray | None, dict[str, np.ndarray]]:
        """Choose actions for all agents of all copies.

        Args:
            obs: [B, N, *O].
            mask: [B, N, H, A] bool or None.
            hidden: [B, N, *hidden] or None.
            explore: exploration or greedy.
            t: environment steps sampled so far, for schedules.

        Returns:
            actions [B, N, *C], hidden [B, N, *hidden] after them, {name: [B, N, ...]} kept
            outputs.
        """
        everyone = len(self._parts) == 1
        shape = (self._num_envs, self._num_agents)
        actions = np.zeros((*shape, *self._actions.shape), self._actions.dtype)
        hidden_after = None if hidden is None else np.zeros_like(hidden)
        kept: dict[str, np.ndarray] = {}
        for actor, index, own in self._parts:
            some = slice(None) if everyone else index
            own_actions, own_hidden, own_kept = actor.act(
                own.observations(obs[:, some], lead=2),
                None if mask is None else own.masks(mask[:, some]),
                {_H: hidden[:, some]} if actor.initial_hidden and hidden is not None else {},
                explore,
                t,
            )
            if everyone:
                return own_actions, own_hidden.get(_H), own_kept
            if own_actions.shape[2:] == self._actions.shape:
                actions[:, index] = own_actions
            else:
                flat = own_actions.reshape(self._num_envs, len(index), -1)
                actions[:, index, : flat.shape[-1]] = flat
            if hidden_after is not None and own_hidden:
                hidden_after[:, index] = own_hidden[_H]
            for name, values in own_kept.items():
                if name not in kept:
                    kept[name] = np.zeros((*shape, *values.shape[2:]), values.dtype)
                kept[name][:, index] = values
        return actions, hidden_after, kept

    def _initial_hidden(self) -> np.ndarray | None:
        stateful = [part for part in self._parts if part.actor.initial_hidden]
        if not stateful:
            return None
        for actor, *_ in stateful:
            if set(actor.initial_hidden) != {_H}:
                raise ValueError(
                    f"hidden state of module {actor.module_id!r} has the parts "
                    f"{sorted(actor.initial_hidden)}; only {_H!r} is allowed"
                )
        shapes = {actor.initial_hidden[_H].shape for actor, *_ in stateful}
        if len(shapes) > 1:
            raise ValueError(
                f"stateful modules have hidden states of shapes {sorted(shapes)}; "
                "they must be equal, as those of network='flat' are"
            )
        hidden = np.zeros((self._num_agents, *shapes.pop()), np.float32)
        for actor, index, _ in stateful:
            hidden[index] = actor.initial_hidden[_H]
        return hidden
