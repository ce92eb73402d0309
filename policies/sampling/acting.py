"""From observations to actions: one forward pass per module for all copies and its agents."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule

from marlserve.policies.sampling.actions import ActionArrays
from marlserve.policies.sampling.sequences import ACTION_MASK


def agent_groups(
    agents: Sequence[str], policy_mapping_fn: Callable, episode: Any = None
) -> dict[str, np.ndarray]:
    """Which agents each module plays: {module_id: their indices in `agents`, ascending}."""
    groups: dict[str, list[int]] = {}
    for index, agent in enumerate(agents):
        groups.setdefault(policy_mapping_fn(agent, episode), []).append(index)
    return {module_id: np.array(indices) for module_id, indices in groups.items()}


class Actor:
    """Calls the modules as the docstring of `runner` says.

    Args:
        modules: {module_id: module}; they are put in eval mode.
        groups: what `agent_groups` gives.
        num_envs: B.
        actions: of the action space.
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
        num_envs: int,
        actions: ActionArrays,
        device: torch.device | str = "cpu",
        keep: Sequence[str] = (),
    ):
        unknown = set(groups) - set(modules)
        if unknown:
            raise ValueError(
                f"policy_mapping_fn gives {sorted(unknown)}; there are modules {sorted(modules)}"
            )
        self._modules = {module_id: modules[module_id].eval() for module_id in groups}
        self._stateful = {name: module.is_stateful() for name, module in self._modules.items()}
        self._groups, self._keep, self._device = groups, tuple(keep), device
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
        everyone = len(self._groups) == 1
        actions = hidden_after = None
        kept: dict[str, np.ndarray] = {}
        with torch.no_grad():
            for module_id, index in self._groups.items():
                some = slice(None) if everyone else index
                outputs = self._forward(
                    module_id,
                    obs[:, some],
                    None if mask is None else mask[:, some],
                    None if hidden is None else hidden[:, some],
                    explore,
                    t,
                )
                if everyone:
                    return outputs
                if actions is None:
                    actions = np.zeros(
                        (self._num_envs, self._num_agents, *self._actions.shape),
                        self._actions.dtype,
                    )
                    hidden_after = None if hidden is None else np.zeros_like(hidden)
                actions[:, index] = outputs[0]
                if outputs[1] is not None:
                    hidden_after[:, index] = outputs[1]
                for name, values in outputs[2].items():
                    if name not in kept:
                        shape = (self._num_envs, self._num_agents, *values.shape[2:])
                        kept[name] = np.zeros(shape, values.dtype)
                    kept[name][:, index] = values
        return actions, hidden_after, kept

    def _forward(self, module_id, obs, mask, hidden, explore, t):
        """`act` for the agents of one module, whose arrays are [B, n, ...]."""
        module, stateful = self._modules[module_id], self._stateful[module_id]
        leading = obs.shape[:2]
        batch = {Columns.OBS: self._tensor(obs, stateful)}
        if mask is not None:
            batch[ACTION_MASK] = self._tensor(mask, stateful)
        if stateful:
            batch[Columns.STATE_IN] = {"h": self._tensor(hidden, time_axis=False)}
        # Not forward_exploration(): it would switch between train and eval mode on every call.
        if explore:
            outputs = module._forward_exploration(batch, t=t)
        else:
            outputs = module._forward_inference(batch)
        if Columns.ACTIONS not in outputs:
            outputs = self._sampled(module, outputs, explore)

        def array(name):
            values = outputs[name].cpu().numpy()
            return values.reshape(*leading, *values.shape[2 if stateful else 1 :])

        actions = array(Columns.ACTIONS).astype(self._actions.dtype, copy=False)
        if actions.shape[2:] != self._actions.shape:
            raise ValueError(
                f"module {module_id!r} gave actions of shape {actions.shape[2:]}; "
                f"the action space has {self._actions.shape}"
            )
        after = None
        if stateful:
            after = outputs[Columns.STATE_OUT]["h"].cpu().numpy().reshape(hidden.shape)
        return actions, after, {name: array(name) for name in self._keep}

    def _sampled(self, module: RLModule, outputs: dict, explore: bool) -> dict:
        """The outputs with actions drawn from the module's distribution (its mode if greedy)."""
        if explore:
            distribution_cls = module.get_exploration_action_dist_cls()
        else:
            distribution_cls = module.get_inference_action_dist_cls()
        distribution = distribution_cls.from_logits(outputs[Columns.ACTION_DIST_INPUTS])
        if not explore:
            distribution = distribution.to_deterministic()
        actions = distribution.sample()
        outputs = {**outputs, Columns.ACTIONS: actions}
        if Columns.ACTION_LOGP in self._keep and Columns.ACTION_LOGP not in outputs:
            outputs[Columns.ACTION_LOGP] = distribution.logp(actions)
        return outputs

    def _tensor(self, values: np.ndarray, time_axis: bool) -> torch.Tensor:
        """[B, n, ...] as a float tensor [B*n, ...], or [B*n, 1, ...] with a time axis."""
        flat = values.reshape(-1, *((1,) if time_axis else ()), *values.shape[2:])
        return torch.as_tensor(flat, dtype=torch.float32, device=self._device)

    def _initial_hidden(self) -> np.ndarray | None:
        states = {}
        for module_id, module in self._modules.items():
            if self._stateful[module_id]:
                state = module.get_initial_state()
                if set(state) != {"h"}:
                    raise ValueError(
                        f"hidden state of module {module_id!r} has the parts {sorted(state)}; "
                        "only 'h' is allowed"
                    )
                states[module_id] = torch.as_tensor(state["h"]).cpu().numpy()
        if not states:
            return None
        shapes = {state.shape for state in states.values()}
        if len(shapes) > 1:
            raise ValueError(
                f"stateful modules have hidden states of shapes {sorted(shapes)}; "
                "they must be equal"
            )
        hidden = np.zeros((self._num_agents, *shapes.pop()), np.float32)
        for module_id, state in states.items():
            hidden[self._groups[module_id]] = state
        return hidden
