"""The RLModule of PPO and A2C: an actor and, on learners, a critic; two separate networks.

Observations are `Box` of any shape, flattened. The actor's network puts out the logits of
`Discrete` and `MultiDiscrete` actions, or the means of `Box` actions, whose log standard deviation
is one learned vector. Acting:

    OBS [n, *O], "action_mask" [n, H, A] optional  ->  ACTIONS [n, *C], ACTION_LOGP [n]

Training, n transitions:

    OBS [n, *O], ACTIONS [n, *C], "action_mask" [n, H, A] optional
    -> ACTION_LOGP [n], "entropy" [n], and VF_PREDS [n], normalised as `Critic` says
"""

from collections.abc import Sequence
from itertools import pairwise

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor, nn

from marlserve.policies.models.action_distributions import Choices, Normal
from marlserve.policies.models.masks import combined, component_mask
from marlserve.policies.sampling.sequences import ACTION_MASK

ACTION_SPACES = (Discrete, MultiDiscrete, Box)
ENTROPY = "entropy"
_FIRST_LOG_STD = -0.5  # modules act in [-1, 1], where deviation 1 would mostly hit the bounds


class Critic(nn.Module):
    """A value network whose outputs have mean 0 and deviation 1 (PopArt, van Hasselt et al. 2016).

    Rewards may thus be of any scale. `normalise_to` moves the scale to that of new targets, and
    the last layer against it, so that the values in the rewards' own units stay as they are.
    """

    def __init__(self, num_inputs: int, hidden_sizes: Sequence[int]):
        super().__init__()
        self.network = orthogonal_mlp(num_inputs, hidden_sizes, 1, last_gain=0.01)
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
        last = self.network[-1]
        last.weight.mul_(self.std / new_std)
        last.bias.mul_(self.std).add_(self.mean - new_mean).div_(new_std)
        self.mean.copy_(new_mean)
        self.std.copy_(new_std)


class ActorCriticModule(TorchRLModule, InferenceOnlyAPI, ValueFunctionAPI):
    """`model_config` holds "hidden_sizes", of both networks.

    Raises:
        ValueError: on construction, for spaces that it cannot play.
    """

    def setup(self) -> None:
        if not isinstance(self.observation_space, Box):
            raise ValueError(f"the observation space is {self.observation_space}; it must be a Box")
        self._num_inputs = num_inputs = int(np.prod(self.observation_space.shape))
        hidden_sizes = self.model_config["hidden_sizes"]
        self._heads = _heads(self.action_space)  # (H, A), or (D,) for Box
        self.log_std, legal = None, None
        if isinstance(self.action_space, Box):
            self.log_std = nn.Parameter(torch.full(self._heads, _FIRST_LOG_STD))
        elif isinstance(self.action_space, MultiDiscrete):
            legal = component_mask(self.action_space.nvec)
        self.register_buffer("legal", legal, persistent=False)
        # Small first outputs: all actions begin alike (Andrychowicz et al. 2021).
        self.actor = orthogonal_mlp(
            num_inputs, hidden_sizes, int(np.prod(self._heads)), last_gain=0.01
        )
        self.critic = Critic(num_inputs, hidden_sizes)

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
        return {
            Columns.ACTION_LOGP: distribution.logp(batch[Columns.ACTIONS]),
            ENTROPY: distribution.entropy(),
            Columns.VF_PREDS: self.critic(self._flat(batch)),
        }

    def compute_values(self, batch: dict, embeddings=None) -> Tensor:
        """Values of the observations in the units of the rewards, [n]."""
        return self.critic.values(self._flat(batch))

    def _distribution(self, batch: dict) -> Choices | Normal:
        outputs = self.actor(self._flat(batch))
        if self.log_std is not None:
            return Normal(outputs, self.log_std, self.action_space.shape)
        mask = combined(batch.get(ACTION_MASK), self.legal)
        return Choices(outputs.unflatten(-1, self._heads), mask, self.action_space.shape)

    def _flat(self, batch: dict) -> Tensor:
        observations = batch[Columns.OBS]
        return observations.float().reshape(len(observations), self._num_inputs)


def orthogonal_mlp(
    num_inputs: int, hidden_sizes: Sequence[int], num_outputs: int, last_gain: float
) -> nn.Sequential:
    """Linear layers with tanh between them; weights orthogonal, biases zero at first."""
    sizes = [num_inputs, *hidden_sizes, num_outputs]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        linear = nn.Linear(inputs, outputs)
        is_last = len(layers) == 2 * len(hidden_sizes)
        nn.init.orthogonal_(linear.weight, last_gain if is_last else np.sqrt(2.0))
        nn.init.zeros_(linear.bias)
        layers += [linear] if is_last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)


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
