"""The RLModule of PPO and A2C: an actor and, on learners, a critic; two separate networks.

Observations are `Box` of any shape; the networks are those of `actor_critic_networks`. The actor
puts out the logits of `Discrete` and `MultiDiscrete` actions, or the means of `Box` actions, whose
log standard deviation is one learned vector. Acting:

    OBS [n, *O], "action_mask" [n, H, A] optional  ->  ACTIONS [n, *C], ACTION_LOGP [n]

Training, n transitions:

    OBS [n, *O], ACTIONS [n, *C], "action_mask" [n, H, A] optional
    -> ACTION_LOGP [n], "entropy" [n], and VF_PREDS [n], normalised as `Critic` says
    "teacher_actions" [n, *C], if there is a teacher  ->  "teacher_logp" [n]
"""

from typing import cast

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor, nn

from marlserve.policies.models.action_distributions import Choices, Normal
from marlserve.policies.models.actor_critic_networks import PerComponent, actor_and_critic
from marlserve.policies.models.masks import combined, component_mask
from marlserve.policies.sampling.sequences import ACTION_MASK
from marlserve.policies.sampling.teacher import TEACHER_ACTIONS

ACTION_SPACES = (Discrete, MultiDiscrete, Box)
ENTROPY, TEACHER_LOGP = "entropy", "teacher_logp"
_FIRST_LOG_STD = -0.5  # modules act in [-1, 1], where deviation 1 would mostly hit the bounds


class Critic(nn.Module):
    """A value network whose outputs have mean 0 and deviation 1 (PopArt, van Hasselt et al. 2016).

    Rewards may thus be of any scale. `normalise_to` moves the scale to that of new targets, and
    the last layer against it, so that the values in the rewards' own units stay as they are.

    Args:
        network: observations -> [n, 1]; its last module is linear.
    """

    mean: Tensor
    std: Tensor
    num_updates: Tensor

    def __init__(self, network: nn.Sequential):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))
        self.register_buffer("num_updates", torch.zeros(()))

    def forward(self, observations: Tensor) -> Tensor:
        """Normalised values, [n]."""
        return self.network(observations).squeeze(-1)

    def values(self, observations: Tensor) -> Tensor:
        """Values in the units of the rewards, [n]."""
        return self.mean + self.std * self(observations)

    def normalised(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.std

    @torch.no_grad()
    def normalise_to(self, mean: Tensor, variance: Tensor, least_rate: float) -> None:
        """Follow the targets' moments: their average at first, then by `least_rate` per call."""
        self.num_updates += 1
        rate = (1.0 / self.num_updates).clamp(min=least_rate)
        between = rate * (1 - rate) * (mean - self.mean) ** 2
        new_variance = (1 - rate) * self.std**2 + rate * variance + between
        new_mean = self.mean + rate * (mean - self.mean)
        new_std = new_variance.sqrt().clamp(min=1e-6)
        last = cast(nn.Linear, self.network[-1])
        last.weight.mul_(self.std / new_std)
        last.bias.mul_(self.std).add_(self.mean - new_mean).div_(new_std)
        self.mean.copy_(new_mean)
        self.std.copy_(new_std)


class ActorCriticModule(TorchRLModule, InferenceOnlyAPI, ValueFunctionAPI):
    """`model_config` holds what `actor_and_critic` reads.

    Raises:
        ValueError: on construction, for spaces that it cannot play.
    """

    def setup(self) -> None:
        if not isinstance(self.observation_space, Box):
            raise ValueError(f"the observation space is {self.observation_space}; it must be a Box")
        self._heads = _heads(self.action_space)  # (H, A), or (D,) for Box
        self.log_std, legal = None, None
        if isinstance(self.action_space, Box):
            self.log_std = nn.Parameter(torch.full(self._heads, _FIRST_LOG_STD))
        elif isinstance(self.action_space, MultiDiscrete):
            legal = component_mask(self.action_space.nvec.tolist())
        self.register_buffer("legal", legal, persistent=False)
        self.actor, network = actor_and_critic(
            self.observation_space,
            self.action_space,
            int(np.prod(self._heads)),
            self.model_config,
        )
        shape = self.observation_space.shape
        self._seen_shape = shape if isinstance(self.actor, PerComponent) else (int(np.prod(shape)),)
        self.critic = Critic(network)

    def get_non_inference_attributes(self) -> list[str]:
        return ["critic"]

    def _forward_inference(self, batch: dict, **kwargs) -> dict[str, Tensor]:
        distribution = self._distribution(batch)
        return _chosen(distribution, distribution.mode())

    def _forward_exploration(self, batch: dict, **kwargs) -> dict[str, Tensor]:
        distribution = self._distribution(batch)
        return _chosen(distribution, distribution.sample())

    def _forward_train(self, batch: dict, **kwargs) -> dict[str, Tensor]:
        distribution = self._distribution(batch)
        out = {
            Columns.ACTION_LOGP: distribution.logp(batch[Columns.ACTIONS]),
            ENTROPY: distribution.entropy(),
            Columns.VF_PREDS: self.critic(self._seen(batch)),
        }
        if TEACHER_ACTIONS in batch:
            out[TEACHER_LOGP] = distribution.logp(batch[TEACHER_ACTIONS])
        return out

    def compute_values(self, batch: dict, embeddings=None) -> Tensor:
        """Values of the observations in the units of the rewards, [n]."""
        return self.critic.values(self._seen(batch))

    def _distribution(self, batch: dict) -> Choices | Normal:
        outputs = self.actor(self._seen(batch))
        if self.log_std is not None:
            return Normal(outputs, self.log_std, self.action_space.shape)
        mask = combined(batch.get(ACTION_MASK), self.legal)
        return Choices(outputs.unflatten(-1, self._heads), mask, self.action_space.shape)

    def _seen(self, batch: dict) -> Tensor:
        observations = batch[Columns.OBS]
        return observations.float().reshape(len(observations), *self._seen_shape)


def _heads(space: gymnasium.Space) -> tuple[int, ...]:
    if isinstance(space, Discrete):
        return 1, int(space.n)
    if isinstance(space, MultiDiscrete) and space.nvec.ndim == 1:
        return len(space.nvec), int(space.nvec.max())
    if isinstance(space, Box) and np.issubdtype(space.dtype, np.floating):
        return (int(np.prod(space.shape)),)
    raise ValueError(
        f"the action space is {space}; actors play Discrete, flat MultiDiscrete and Box of floats"
    )


def _chosen(distribution: Choices | Normal, actions: Tensor) -> dict[str, Tensor]:
    return {Columns.ACTIONS: actions, Columns.ACTION_LOGP: distribution.logp(actions)}
