"""What the RLModules of SAC share: its distributions, its temperature, and what its loss needs.

`Discrete` and `MultiDiscrete` actions are drawn from categorical distributions, one for each of
the H components, and expectations over them are exact. A critic gives every component values of
its own, and the value of an action is their sum. `Box` actions are tanh of normal variables, in
[-1, 1]; a critic is given the action, and expectations are of one sample.

Training, R rows of L steps (see `independent`), gives

    CHOSEN [2, R, L]            both critics' values of what was done
    NEXT, NEXT_ENTROPY [R, L]   of the policy one step later: the lesser of the target critics'
                                values, and its entropy; without gradients
    VALUE, ENTROPY [R, L]       of the policy at this step; with gradients to the actor only
    AUTO_ENTROPY [R, L]         what the entropy shall be if nothing else is said: minus the number
                                of dimensions for Box, else 0.3 of the highest entropy that the
                                legal actions allow
    LOG_ALPHA []                log of the temperature
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, TargetNetworkAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor, nn

from marlserve.policies.models.action_distributions import Choices, Squashed
from marlserve.policies.models.gru import component_sizes
from marlserve.policies.models.masks import combined, component_mask

CHOSEN, NEXT, NEXT_ENTROPY = "chosen", "next", "next_entropy"
VALUE, ENTROPY, AUTO_ENTROPY, LOG_ALPHA = "value", "entropy", "auto_entropy", "log_alpha"
_ENTROPY_SHARE = 0.3


class SoftActorCritic(TorchRLModule, InferenceOnlyAPI, TargetNetworkAPI):
    """`model_config` holds "initial_alpha", and what `make_networks` reads.

    Attributes:
        heads: of an actor's outputs, (H, A), or (size, 2) for Box: mean and spread.
        legal: [H, A] bool, or None if all values of all components are.
    """

    actor: Any  # networks of the kind that `make_networks` gives
    critics: Any
    target_critics: Any

    def setup(self) -> None:
        self.is_box, legal = isinstance(self.action_space, Box), None
        if self.is_box:
            self.heads = (int(np.prod(self.action_space.shape)), 2)
        else:
            sizes = component_sizes(self.action_space)
            self.heads, legal = (len(sizes), max(sizes)), component_mask(sizes)
        self.register_buffer("legal", legal, persistent=False)
        self.actor, self.critics = self.make_networks()
        # A parameter of the module, so that it is saved, restored and the same on all learners.
        log_alpha = math.log(self.model_config["initial_alpha"])
        self.log_alpha = nn.Parameter(torch.full((1,), log_alpha))

    def make_networks(self) -> tuple[nn.Module, nn.Module]:
        """The actor and both critics."""
        raise NotImplementedError

    def policy(self, outputs: Tensor, mask: Tensor | None) -> Any:
        """The distribution of the actor's outputs [..., *heads], among what is legal.

        It is `Squashed` for Box, else `Choices`.
        """
        if self.is_box:
            mean, spread = outputs.unbind(-1)
            return Squashed(mean, spread, self.action_space.shape)
        return Choices(outputs, combined(mask, self.legal), self.action_space.shape)

    def _forward_inference(self, batch: dict, **kwargs) -> dict:
        return self._act(batch, explore=False)

    def _forward_exploration(self, batch: dict, **kwargs) -> dict:
        return self._act(batch, explore=True)

    def _act(self, batch: dict, explore: bool) -> dict:
        raise NotImplementedError

    def choice_terms(
        self, now: Choices, later: Choices, values: Tensor, targets: Tensor, actions: Tensor
    ) -> dict[str, Tensor]:
        """What the loss needs, of Discrete and MultiDiscrete actions.

        Args:
            now, later: the policy at the steps and one step later, [R, L].
            values: both critics', [2, R, L, H, A].
            targets: of the target critics one step later, [2, R, L, H, A].
            actions: done, [R, L, *C].
        """
        chosen = actions.reshape(values.shape[1:-1]).expand(values.shape[:-1]).unsqueeze(-1)
        return {
            CHOSEN: values.gather(-1, chosen).squeeze(-1).sum(-1),
            VALUE: _lesser(now, values.detach()),
            ENTROPY: now.entropy(),
            NEXT: _lesser(later, targets),
            NEXT_ENTROPY: later.entropy(),
            AUTO_ENTROPY: _ENTROPY_SHARE * now.highest_entropy(),
            LOG_ALPHA: self.log_alpha.squeeze(),
        }

    def number_terms(
        self, now: Squashed, later: Squashed, critics: Callable, targets: Callable, actions: Tensor
    ) -> dict[str, Tensor]:
        """What the loss needs, of Box actions.

        Args:
            now, later: the policy at the steps and one step later, [R, L].
            critics: gives both values [2, R, L] of flat actions [R, L, size]; with `frozen`, with
                gradients to the actions only.
            targets: the same of the target critics one step later.
            actions: done, [R, L, *C].
        """
        own, logp = now.draw()
        with torch.no_grad():
            next_actions, next_logp = later.draw()
            following = targets(next_actions).amin(0)
        return {
            CHOSEN: critics(actions.flatten(2)),
            VALUE: critics(own, frozen=True).amin(0),
            ENTROPY: -logp,
            NEXT: following,
            NEXT_ENTROPY: -next_logp,
            AUTO_ENTROPY: torch.full_like(logp, -float(self.heads[0])),
            LOG_ALPHA: self.log_alpha.squeeze(),
        }

    def make_target_networks(self) -> None:
        self.target_critics = make_target_network(self.critics)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.critics, self.target_critics)]

    def forward_target(self, batch: dict) -> dict[str, Tensor]:
        raise NotImplementedError("the target networks run within forward_train")

    def get_non_inference_attributes(self) -> list[str]:
        return ["critics", "target_critics", "log_alpha"]


def _lesser(policy: Choices, values: Tensor) -> Tensor:
    """The policy's value by the critic that gives less: [2, R, L, H, A] -> [R, L].

    Of one component, that is decided for each action (Christodoulou 2019). Of several, only the
    sum has a meaning, which critics may divide among components in different ways.
    """
    if values.shape[-2] == 1:
        return policy.mean(values.amin(0))
    return policy.mean(values).amin(0)
