"""The RLModule of DQN: a Q-network that acts greedily, or epsilon-greedily to explore.

Observations are `Box` of any shape. The network is a dueling one over the flat observation, with
Q(s, a) = V(s) + A(s, a) - mean of A(s, .) (Wang et al. 2016), or where an observation [M, F]
describes M things of which the action chooses one, the network of `gru` that is the same for each
of them. Acting:

    OBS [n, *O], "action_mask" [n, 1, A] optional  ->  ACTIONS [n] int64, indices from 0

Training, R rows of L steps:

    OBS [R, L+1, *O], ACTIONS [R, L], "action_mask" [R, L+1, 1, A] optional
    -> CHOSEN [R, L], values of what was done, and NEXT [R, L], target values of the best legal
       action one step later, chosen by the online network (`double_q`) or by the target network
"""

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, TargetNetworkAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor, nn

from marlserve.policies.models.actor_critic_networks import PerComponent, component_network
from marlserve.policies.models.masks import best, single_mask
from marlserve.policies.models.mlp import mlp

CHOSEN, NEXT = "chosen", "next"


class DuelingNetwork(nn.Module):
    """[n, *O], flattened to num_inputs -> [n, num_actions]."""

    def __init__(self, num_inputs: int, hidden_sizes: list[int], num_actions: int):
        super().__init__()
        self.body = nn.Sequential(mlp(num_inputs, hidden_sizes[:-1], hidden_sizes[-1]), nn.ReLU())
        self.head = nn.Linear(hidden_sizes[-1], 1 + num_actions)

    def forward(self, observations: Tensor) -> Tensor:
        values = self.head(self.body(observations.flatten(1)))
        value, advantages = values.split([1, self.head.out_features - 1], -1)
        return value + advantages - advantages.mean(-1, keepdim=True)


class DQNModule(TorchRLModule, InferenceOnlyAPI, TargetNetworkAPI):
    """`model_config` holds "network", as `gru.make_network` has it, "hidden_sizes" of a flat one,
    "hidden_size" and "embedding_size" of one per component, "epsilon" and "double_q".

    "epsilon" is a number or a schedule [[env_steps, value], ...].
    """

    def setup(self) -> None:
        per_component = component_network(
            self.observation_space, self.action_space, self.model_config
        )
        num_inputs = int(np.prod(self.observation_space.shape))
        hidden_sizes = list(self.model_config["hidden_sizes"])
        self.network = (
            DuelingNetwork(num_inputs, hidden_sizes, int(self.action_space.n))
            if per_component is None
            else PerComponent(per_component)
        )
        self._epsilon = Scheduler(self.model_config["epsilon"], framework="torch")

    def _forward_inference(self, batch: dict, **kwargs) -> dict:
        return self._act(batch, epsilon=0.0)

    def _forward_exploration(self, batch: dict, t: int = 0, **kwargs) -> dict:
        """`t` is the number of environment steps that all runners have sampled so far."""
        return self._act(batch, epsilon=self._epsilon.update(t))

    @torch.no_grad()
    def _act(self, batch: dict, epsilon: float) -> dict:
        values, mask = self.network(batch[Columns.OBS].float()), single_mask(batch)
        actions = best(values, mask)
        if epsilon > 0:
            # The best of random values among the legal ones is a uniform choice.
            explores = torch.rand(actions.shape, device=actions.device) < epsilon
            actions = torch.where(explores, best(torch.rand_like(values), mask), actions)
        return {Columns.ACTIONS: actions}

    def _forward_train(self, batch: dict, **kwargs) -> dict[str, Tensor]:
        observations = batch[Columns.OBS].float()  # [R, L+1, *O]
        now, later = observations[:, :-1], observations[:, 1:]
        with torch.no_grad():
            target = _of_rows(self.target, later)
            mask = single_mask(batch)
            double = self.model_config["double_q"]
            chooser = _of_rows(self.network, later) if double else target
            greedy = best(chooser, None if mask is None else mask[:, 1:])
        return {
            CHOSEN: _at(_of_rows(self.network, now), batch[Columns.ACTIONS]),
            NEXT: _at(target, greedy),
        }

    def make_target_networks(self) -> None:
        self.target = make_target_network(self.network)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.network, self.target)]

    def forward_target(self, batch: dict) -> dict[str, Tensor]:
        raise NotImplementedError("the target network runs within forward_train")

    def get_non_inference_attributes(self) -> list[str]:
        return ["target"]


def _of_rows(network: nn.Module, observations: Tensor) -> Tensor:
    """The values of rows of steps, [R, L, *O] -> [R, L, num_actions]."""
    return network(observations.flatten(0, 1)).unflatten(0, observations.shape[:2])


def _at(values: Tensor, actions: Tensor) -> Tensor:
    return values.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
