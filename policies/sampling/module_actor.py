"""One module asked for actions: from arrays of n agents in B copies to tensors, and back.

All that plays a module goes through here: the env runner by `acting.Actor`, checkpoints by
`checkpoint.CheckpointPolicy`. The module is called once per step for n agents in B copies, under
`torch.no_grad()` and in eval mode:

    module._forward_exploration(batch, t=env_steps_sampled_so_far_by_all_runners)
    module._forward_inference(batch)                          # explore=False

    batch = {
        Columns.OBS:      [B*n, *O] tensor              # [B*n, 1, *O] for a stateful module
        "action_mask":    [B*n, H, A] float tensor      # [B*n, 1, H, A]; absent if all is legal
        Columns.STATE_IN: {"h": [B*n, *hidden]}         # stateful modules only
    }
    returns {
        Columns.ACTIONS:   [B*n, *C]                    # [B*n, 1, *C] for a stateful module
        Columns.STATE_OUT: {"h": [B*n, *hidden]}        # stateful modules only
    }

A module may return `Columns.ACTION_DIST_INPUTS` in place of `Columns.ACTIONS`; its distribution
class is then sampled (its mode taken if not exploring). To honour the mask is up to the module.
A module is stateful if `module.is_stateful()`; its hidden state at the start of an episode is
`module.get_initial_state()["h"]`, without a batch axis.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule

from marlserve.policies.sampling.actions import ActionArrays
from marlserve.policies.sampling.sequences import ACTION_MASK


class ModuleActor:
    """Asks one module for the actions of the agents that it plays, as said above.

    Args:
        module_id: the module's name, for errors.
        module: is put in eval mode.
        actions: of its action space.
        device: where the module is.
        keep: further per-step outputs to return, e.g. `Columns.ACTION_LOGP`.

    Attributes:
        initial_hidden: {part: [*hidden]}, empty for a feed-forward module.

    Raises:
        ValueError: for a module whose hidden state is nested.
    """

    def __init__(
        self,
        module_id: str,
        module: RLModule,
        actions: ActionArrays,
        device: torch.device | str = "cpu",
        keep: Sequence[str] = (),
    ):
        self.module_id, self.module, self.actions = module_id, module.eval(), actions
        self._device, self._keep = device, tuple(keep)
        self._stateful = module.is_stateful()
        self.initial_hidden: dict[str, np.ndarray] = {}
        if self._stateful:
            state = module.get_initial_state()
            nested = sorted(part for part, values in state.items() if isinstance(values, Mapping))
            if nested:
                raise ValueError(
                    f"the hidden state of module {module_id!r} has parts {nested} that are dicts; "
                    "only arrays are allowed"
                )
            self.initial_hidden = {k: torch.as_tensor(v).cpu().numpy() for k, v in state.items()}

    def act(
        self,
        obs: np.ndarray,
        mask: np.ndarray | None,
        hidden: dict[str, np.ndarray],
        explore: bool,
        t: int,
    ) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Choose actions for n agents of each of B copies.

        Args:
            obs: [B, n, *O].
            mask: [B, n, H, A] bool or None.
            hidden: {part: [B, n, *hidden]}, empty for a feed-forward module.
            explore: exploration or greedy.
            t: environment steps sampled so far, for schedules.

        Returns:
            actions [B, n, *C] as the module chooses them, {part: [B, n, *hidden]} after them,
            {name: [B, n, ...]} kept outputs.

        Raises:
            ValueError: if the module's actions are not of the action space's shape.
        """
        module, leading = self.module, obs.shape[:2]
        batch: dict[str, Any] = {Columns.OBS: self._tensor(obs, self._stateful)}
        if mask is not None:
            batch[ACTION_MASK] = self._tensor(mask, self._stateful)
        if self._stateful:
            batch[Columns.STATE_IN] = {k: self._tensor(v, False) for k, v in hidden.items()}
        # Not forward_exploration(): it would switch between train and eval mode on every call.
        with torch.no_grad():
            if explore:
                outputs = module._forward_exploration(batch, t=t)
            else:
                outputs = module._forward_inference(batch)
            if Columns.ACTIONS not in outputs:
                outputs = self._sampled(outputs, explore)

        def array(name: str) -> np.ndarray:
            values = outputs[name].cpu().numpy()
            return values.reshape(*leading, *values.shape[2 if self._stateful else 1 :])

        actions = array(Columns.ACTIONS).astype(self.actions.dtype, copy=False)
        if actions.shape[2:] != self.actions.shape:
            raise ValueError(
                f"module {self.module_id!r} gave actions of shape {actions.shape[2:]}; "
                f"the action space has {self.actions.shape}"
            )
        after = {}
        if self._stateful:
            state = outputs[Columns.STATE_OUT]
            after = {k: state[k].cpu().numpy().reshape(v.shape) for k, v in hidden.items()}
        return actions, after, {name: array(name) for name in self._keep}

    def _sampled(self, outputs: dict, explore: bool) -> dict:
        """The outputs with actions drawn from the module's distribution (its mode if greedy)."""
        if explore:
            distribution_cls = self.module.get_exploration_action_dist_cls()
        else:
            distribution_cls = self.module.get_inference_action_dist_cls()
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
