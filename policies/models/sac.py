"""The RLModule of SAC: a stochastic actor, twin critics and the temperature of the entropy.

`soft_actor_critic` says what they do, and what training gives. Both are feed-forward networks of
observations, which are `Box` of any shape, flattened. Acting:

    OBS [n, *O], "action_mask" [n, H, A] optional  ->  ACTIONS [n, *C]

Training, R rows of L steps, takes

    OBS [R, L+1, *O], ACTIONS [R, L, *C], "action_mask" [R, L+1, H, A] optional
"""

from functools import partial

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from torch import Tensor, nn

from marlserve.policies.models.mlp import Twin, mlp
from marlserve.policies.models.soft_actor_critic import SoftActorCritic
from marlserve.policies.sampling.sequences import ACTION_MASK


class SACModule(SoftActorCritic):
    """`model_config` holds "hidden_sizes" and "initial_alpha"."""

    def make_networks(self) -> tuple[nn.Module, nn.Module]:
        num_inputs = int(np.prod(self.observation_space.shape))
        hidden_sizes, num_outputs = (
            list(self.model_config["hidden_sizes"]),
            int(np.prod(self.heads)),
        )
        actor = mlp(num_inputs, hidden_sizes, num_outputs)
        if self.is_box:
            return actor, Twin(num_inputs + self.heads[0], hidden_sizes, 1)
        return actor, Twin(num_inputs, hidden_sizes, num_outputs)

    @torch.no_grad()
    def _act(self, batch: dict, explore: bool) -> dict:
        observations = batch[Columns.OBS].float().flatten(1)
        policy = self.policy(self._outputs(observations), batch.get(ACTION_MASK))
        return {Columns.ACTIONS: policy.sample() if explore else policy.mode()}

    def _forward_train(self, batch: dict, **kwargs) -> dict[str, Tensor]:
        observations, mask = batch[Columns.OBS].float().flatten(2), batch.get(ACTION_MASK)
        now, later = observations[:, :-1], observations[:, 1:]
        masks = (None, None) if mask is None else (mask[:, :-1], mask[:, 1:])
        policy = self.policy(self._outputs(now), masks[0])
        with torch.no_grad():
            following = self.policy(self._outputs(later), masks[1])
        actions = batch[Columns.ACTIONS]
        if self.is_box:
            critics = partial(_values, self.critics, now)
            targets = partial(_values, self.target_critics, later)
            return self.number_terms(policy, following, critics, targets, actions)
        values = self.critics(now).unflatten(-1, self.heads)
        with torch.no_grad():
            targets = self.target_critics(later).unflatten(-1, self.heads)
        return self.choice_terms(policy, following, values, targets, actions)

    def _outputs(self, observations: Tensor) -> Tensor:
        """The actor's, [..., *heads]; for Box its means come first, then all spreads."""
        outputs = self.actor(observations)
        if self.is_box:
            return outputs.unflatten(-1, self.heads[::-1]).transpose(-1, -2)
        return outputs.unflatten(-1, self.heads)


def _values(critics: Twin, observations: Tensor, actions: Tensor, frozen: bool = False) -> Tensor:
    return critics(torch.cat([observations, actions], -1), frozen).squeeze(-1)
