"""The RLModule of TD3: a deterministic actor and twin critics, all with target networks.

Actions are `Box`, in [-1, 1] as the module gives them. Observations are `Box` of any shape,
flattened. Acting:

    OBS [n, *O]  ->  ACTIONS [n, *C]; to explore, with normal noise, and at random at first

Training, R rows of L steps:

    OBS [R, L+1, *O], ACTIONS [R, L, *C]
    -> CHOSEN [2, R, L]   both critics' values of what was done
       NEXT [R, L]        the lesser of the target critics' values of the target actor's next
                          action, which is smoothed by clipped noise; without gradients
"""

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, TargetNetworkAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor, nn

from marlserve.policies.models.mlp import Twin, mlp

CHOSEN, NEXT = "chosen", "next"


class TD3Module(TorchRLModule, InferenceOnlyAPI, TargetNetworkAPI):
    """`model_config` holds "hidden_sizes" and the settings of noise; see `TD3Config.training`."""

    def setup(self) -> None:
        num_inputs = int(np.prod(self.observation_space.shape))
        size = int(np.prod(self.action_space.shape))
        hidden_sizes = list(self.model_config["hidden_sizes"])
        self.actor = nn.Sequential(mlp(num_inputs, hidden_sizes, size), nn.Tanh())
        self.critics = Twin(num_inputs + size, hidden_sizes, 1)

    def _forward_inference(self, batch: dict, **kwargs) -> dict:
        return {Columns.ACTIONS: self._shaped(self._actions(batch))}

    def _forward_exploration(self, batch: dict, t: int = 0, **kwargs) -> dict:
        """`t` is the number of environment steps that all runners have sampled so far."""
        actions = self._actions(batch)
        if t < self.model_config["random_timesteps"]:
            actions = 2 * torch.rand_like(actions) - 1
        else:
            noise = self.model_config["exploration_noise"] * torch.randn_like(actions)
            actions = (actions + noise).clamp(-1, 1)
        return {Columns.ACTIONS: self._shaped(actions)}

    def _forward_train(self, batch: dict, **kwargs) -> dict[str, Tensor]:
        observations = batch[Columns.OBS].float().flatten(2)  # [R, L+1, O]
        now, later = observations[:, :-1], observations[:, 1:]
        actions = batch[Columns.ACTIONS].flatten(2)
        with torch.no_grad():
            following = torch.cat([later, self.smoothed(self.target_actor(later))], -1)
            target = self.target_critics(following).amin(0)
        chosen = self.critics(torch.cat([now, actions], -1))
        return {CHOSEN: chosen.squeeze(-1), NEXT: target.squeeze(-1)}

    def smoothed(self, actions: Tensor) -> Tensor:
        """With noise that is clipped, within the bounds of the actions."""
        bound = self.model_config["target_noise_clip"]
        noise = self.model_config["target_noise"] * torch.randn_like(actions)
        return (actions + noise.clamp(-bound, bound)).clamp(-1, 1)

    def actor_values(self, batch: dict) -> Tensor:
        """The first critic's values of the actor's actions, [R, L]: gradients to the actor only."""
        now = batch[Columns.OBS][:, :-1].float().flatten(2)
        return self.critics(torch.cat([now, self.actor(now)], -1), frozen=True)[0].squeeze(-1)

    @torch.no_grad()
    def _actions(self, batch: dict) -> Tensor:
        return self.actor(batch[Columns.OBS].float().flatten(1))

    def _shaped(self, actions: Tensor) -> Tensor:
        return actions.unflatten(-1, self.action_space.shape)

    def make_target_networks(self) -> None:
        self.target_actor = make_target_network(self.actor)
        self.target_critics = make_target_network(self.critics)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.actor, self.target_actor), (self.critics, self.target_critics)]

    def forward_target(self, batch: dict) -> dict[str, Tensor]:
        raise NotImplementedError("the target networks run within forward_train")

    def get_non_inference_attributes(self) -> list[str]:
        return ["critics", "target_critics", "target_actor"]
