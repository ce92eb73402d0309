"""SAC: a stochastic policy that earns reward and entropy, for Discrete and Box actions.

Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications"; for Discrete actions with
exact expectations, Christodoulou 2019. Twin critics; the temperature alpha is learned so that the
policy's entropy is `target_entropy` on average. Each agent learns from its own reward.
Observations: Box.

    from marlserve import policies
    algo = policies.config("sac").environment(GymnasiumEnv, env_config={"id": "Pendulum-v1"})
    algo.build_algo().train()["env_runners"]["episode_return_mean"]

`off_policy` has what is common to off-policy algorithms, `train_batch_size_per_learner` included.
"""

import math
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import Tensor

from marlserve.policies.models import sac as model
from marlserve.policies.off_policy import OffPolicy
from marlserve.policies.off_policy_config import OffPolicyConfig
from marlserve.policies.off_policy_learner import (
    OffPolicyLearner,
    loss_weights,
    masked_mean,
    td_targets,
)

ACTION_SPACES = (Discrete, Box)
DISCRETE_ENTROPY_SHARE = 0.3  # of the entropy of the uniform choice, log |A|


def config(**training) -> "SACConfig":
    """A ready `SACConfig`, one policy for all agents; it lacks the environment.

    Args:
        training: arguments of `SACConfig.training`, such as `target_entropy=-2.0`.
    """
    return SACConfig().of_one_policy().training(**training)


class SACConfig(OffPolicyConfig):
    """Settings of `SAC`, with defaults that run; `training()` explains them."""

    ACTION_SPACES = ACTION_SPACES
    MODEL_FIELDS: ClassVar[tuple[str, ...]] = ("hidden_sizes", "initial_alpha")

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or SAC)
        self.hidden_sizes = [128, 128]
        self.initial_alpha = 1.0
        self.target_entropy = "auto"
        # RLlib's own settings, where SAC wants other values.
        self.lr = 1e-3
        self.train_batch_size_per_learner = 128
        self.num_envs_per_env_runner = 8
        self.rollout_fragment_length = 8
        self.updates_per_step = 16

    def training(
        self,
        *,
        hidden_sizes: list[int] = NotProvided,
        initial_alpha: float = NotProvided,
        target_entropy: float | str = NotProvided,
        **kwargs,
    ) -> "SACConfig":
        """Set what concerns training; other arguments are those of `OffPolicyConfig.training`.

        Args:
            hidden_sizes: widths of the layers, of the actor and of each critic.
            initial_alpha: temperature at first: what one nat of entropy earns.
            target_entropy: mean entropy of the policy that alpha is moved for, in nats; "auto" is
                minus the number of dimensions for Box, and 0.3 log |A| for Discrete.
        """
        self._set(locals())
        return super().training(**kwargs)

    def validate(self) -> None:
        super().validate()
        self._check_sizes("hidden_sizes")
        if not self.initial_alpha > 0:
            self._value_error(f"initial_alpha is {self.initial_alpha}; it must be positive")
        if isinstance(self.target_entropy, str) and self.target_entropy != "auto":
            self._value_error(
                f"target_entropy is {self.target_entropy!r}; it must be a number, or 'auto'"
            )

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=model.SACModule)

    def get_default_learner_class(self) -> type:
        return SACLearner


class SAC(OffPolicy):
    """Samples with the stochastic policy; greedy play takes its most likely action."""

    @classmethod
    def get_default_config(cls) -> SACConfig:
        return SACConfig()


class SACLearner(OffPolicyLearner):
    """Losses of critics, actor and temperature: disjoint parameters, one backward pass."""

    def configure_optimizers_for_module(self, module_id: str, config: SACConfig = None) -> None:
        module = self.module[module_id].unwrapped()
        self.add_optimizer(module_id, "critics", list(module.critics.parameters()), config)
        self.add_optimizer(module_id, "actor", list(module.actor.parameters()), config)
        self.add_optimizer(module_id, "alpha", [module.log_alpha], config)

    def compute_loss_for_module(
        self,
        *,
        module_id: str,
        config: SACConfig,
        batch: dict[str, Any],
        fwd_out: dict[str, Tensor],
    ) -> Tensor:
        weights = loss_weights(batch, config.burn_in)
        alpha = fwd_out[model.LOG_ALPHA].exp().detach()
        targets = td_targets(
            batch,
            fwd_out[model.NEXT],
            config.gamma,
            config.td_lambda,
            bonus=alpha * fwd_out[model.NEXT_ENTROPY],
        )
        errors = (fwd_out[model.CHOSEN] - targets).square().sum(0)
        critic_loss = masked_mean(errors, weights)
        actor_loss = -masked_mean(fwd_out[model.VALUE] + alpha * fwd_out[model.ENTROPY], weights)
        entropy = masked_mean(fwd_out[model.ENTROPY], weights).detach()
        wanted = target_entropy(config, self.module[module_id].unwrapped().action_space)
        alpha_loss = fwd_out[model.LOG_ALPHA] * (entropy - wanted)
        with torch.no_grad():
            self.metrics.log_dict(
                {
                    "critic_loss": critic_loss.detach(),
                    "actor_loss": actor_loss.detach(),
                    "alpha": alpha,
                    "entropy": entropy,
                    "value_mean": masked_mean(fwd_out[model.CHOSEN].mean(0), weights),
                },
                key=module_id,
                window=1,
            )
        return critic_loss + actor_loss + alpha_loss


def target_entropy(config: SACConfig, space: gymnasium.Space) -> float:
    """What the policy's entropy shall be on average, in nats."""
    if config.target_entropy != "auto":
        return float(config.target_entropy)
    if isinstance(space, Discrete):
        return DISCRETE_ENTROPY_SHARE * math.log(space.n)
    return -float(np.prod(space.shape))
