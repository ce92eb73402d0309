"""The RLModule of SAC: a stochastic actor, twin critics and the temperature of the entropy.

`Discrete` actions are drawn from a categorical distribution, and expectations over it are exact.
`Box` actions are tanh of a normal variable, in [-1, 1], and expectations are of one sample.
Observations are `Box` of any shape, flattened. Acting:

    OBS [n, *O], "action_mask" [n, 1, A] optional  ->  ACTIONS [n, *C]

Training, R rows of L steps:

    OBS [R, L+1, *O], ACTIONS [R, L, *C], "action_mask" [R, L+1, 1, A] optional
    -> CHOSEN [2, R, L]         both critics' values of what was done
       NEXT, NEXT_ENTROPY [R, L]   of the policy one step later: the lesser of the target critics'
                                values, and its entropy; without gradients
       VALUE, ENTROPY [R, L]    of the policy at this step; with gradients to the actor only
       LOG_ALPHA []             log of the temperature
"""

import math

import numpy as np
import torch
from gymnasium.spaces import Discrete
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, TargetNetworkAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor, nn

from marlserve.policies.models.masks import best, single_mask
from marlserve.policies.models.mlp import Twin, mlp

CHOSEN, NEXT, NEXT_ENTROPY = "chosen", "next", "next_entropy"
VALUE, ENTROPY, LOG_ALPHA = "value", "entropy", "log_alpha"
_LOG_STD = (-5.0, 2.0)  # of the normal variable


class SACModule(TorchRLModule, InferenceOnlyAPI, TargetNetworkAPI):
    """`model_config` holds "hidden_sizes" and "initial_alpha"."""

    def setup(self) -> None:
        num_inputs = int(np.prod(self.observation_space.shape))
        hidden_sizes = list(self.model_config["hidden_sizes"])
        self._discrete = isinstance(self.action_space, Discrete)
        if self._discrete:
            num_actions = int(self.action_space.n)
            self.actor = mlp(num_inputs, hidden_sizes, num_actions)
            self.critics = Twin(num_inputs, hidden_sizes, num_actions)
        else:
            size = int(np.prod(self.action_space.shape))
            self.actor = mlp(num_inputs, hidden_sizes, 2 * size)
            self.critics = Twin(num_inputs + size, hidden_sizes, 1)
        # A parameter of the module, so that it is saved, restored and the same on all learners.
        log_alpha = math.log(self.model_config["initial_alpha"])
        self.log_alpha = nn.Parameter(torch.full((1,), log_alpha))

    def _forward_inference(self, batch: dict, **kwargs) -> dict:
        return self._act(batch, explore=False)

    def _forward_exploration(self, batch: dict, **kwargs) -> dict:
        return self._act(batch, explore=True)

    @torch.no_grad()
    def _act(self, batch: dict, explore: bool) -> dict:
        outputs = self.actor(batch[Columns.OBS].float().flatten(1))
        if self._discrete:
            mask = single_mask(batch)
            if explore:  # The best of logits with Gumbel noise is a draw from the distribution.
                outputs = outputs - torch.empty_like(outputs).exponential_().log()
            return {Columns.ACTIONS: best(outputs, mask)}
        actions = _squashed(outputs)[0] if explore else torch.tanh(outputs.chunk(2, -1)[0])
        return {Columns.ACTIONS: actions.unflatten(-1, self.action_space.shape)}

    def _forward_train(self, batch: dict, **kwargs) -> dict[str, Tensor]:
        observations = batch[Columns.OBS].float().flatten(2)  # [R, L+1, O]
        now, later = observations[:, :-1], observations[:, 1:]
        if self._discrete:
            outputs = self._train_discrete(now, later, batch)
        else:
            outputs = self._train_box(now, later, batch[Columns.ACTIONS].flatten(2))
        return outputs | {LOG_ALPHA: self.log_alpha.squeeze()}

    def _train_discrete(self, now: Tensor, later: Tensor, batch: dict) -> dict[str, Tensor]:
        mask = single_mask(batch)
        masks = (None, None) if mask is None else (mask[:, :-1], mask[:, 1:])
        values = self.critics(now)  # [2, R, L, A]
        actions = batch[Columns.ACTIONS].expand(2, -1, -1).unsqueeze(-1)
        value, entropy = _expected(self.actor(now), values.detach().amin(0), masks[0])
        with torch.no_grad():
            following = _expected(self.actor(later), self.target_critics(later).amin(0), masks[1])
        return {
            CHOSEN: values.gather(-1, actions).squeeze(-1),
            VALUE: value,
            ENTROPY: entropy,
            NEXT: following[0],
            NEXT_ENTROPY: following[1],
        }

    def _train_box(self, now: Tensor, later: Tensor, actions: Tensor) -> dict[str, Tensor]:
        own, logp = _squashed(self.actor(now))
        with torch.no_grad():
            next_actions, next_logp = _squashed(self.actor(later))
            following = self.target_critics(torch.cat([later, next_actions], -1))
        value = self.critics(torch.cat([now, own], -1), frozen=True)
        return {
            CHOSEN: self.critics(torch.cat([now, actions], -1)).squeeze(-1),
            VALUE: value.amin(0).squeeze(-1),
            ENTROPY: -logp,
            NEXT: following.amin(0).squeeze(-1),
            NEXT_ENTROPY: -next_logp,
        }

    def make_target_networks(self) -> None:
        self.target_critics = make_target_network(self.critics)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.critics, self.target_critics)]

    def forward_target(self, batch: dict) -> dict[str, Tensor]:
        raise NotImplementedError("the target networks run within forward_train")

    def get_non_inference_attributes(self) -> list[str]:
        return ["critics", "target_critics", "log_alpha"]


def _expected(logits: Tensor, values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Expectation of the values, and entropy, of the distribution with these logits: [..., A]."""
    if mask is not None:
        logits = logits.masked_fill(~mask, -1e9)  # finite: padding has no legal action at all
    logp = torch.log_softmax(logits, -1)
    probabilities = logp.exp()
    return (probabilities * values).sum(-1), -(probabilities * logp).sum(-1)


def _squashed(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """A sample of tanh(normal), with gradients to the outputs, and the log of its density.

    `outputs` [..., 2 * size] are means, and numbers that tanh moves into the range of log stds.
    """
    mean, spread = outputs.chunk(2, -1)
    low, high = _LOG_STD
    log_std = low + 0.5 * (high - low) * (torch.tanh(spread) + 1)
    noise = torch.randn_like(mean)
    drawn = mean + log_std.exp() * noise
    logp = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
    # log(1 - tanh(x)^2), in a form that does not lose digits (Haarnoja et al. 2018, appendix C).
    logp = logp - 2 * (math.log(2) - drawn - nn.functional.softplus(-2 * drawn))
    return torch.tanh(drawn), logp.sum(-1)
