"""How SAC learns: one loss of critics, actor and temperature, for feed-forward and recurrent ones.

Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications". The three have disjoint
parameters, each with an optimizer of its own, so that one backward pass serves all.
"""

from typing import Any

import torch
from torch import Tensor

from marlserve.policies.models import soft_actor_critic as model
from marlserve.policies.training.entropy_config import EntropyConfig
from marlserve.policies.training.off_policy_learner import (
    OffPolicyLearner,
    loss_weights,
    masked_mean,
    td_targets,
)


class SACLearner(OffPolicyLearner):
    """For modules that are a `SoftActorCritic`."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        module = self.module[module_id].unwrapped()
        self.add_optimizer(module_id, "critics", list(module.critics.parameters()), config)
        self.add_optimizer(module_id, "actor", list(module.actor.parameters()), config)
        self.add_optimizer(module_id, "alpha", [module.log_alpha], config, config.alpha_lr)

    def compute_loss_for_module(
        self,
        *,
        module_id: str,
        config: EntropyConfig,
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
        wanted = fwd_out[model.AUTO_ENTROPY]
        if config.target_entropy != "auto":
            wanted = torch.full_like(wanted, float(config.target_entropy))
        excess = masked_mean(fwd_out[model.ENTROPY].detach() - wanted, weights)
        alpha_loss = fwd_out[model.LOG_ALPHA] * excess
        with torch.no_grad():
            self.metrics.log_dict(
                {
                    "critic_loss": critic_loss.detach(),
                    "actor_loss": actor_loss.detach(),
                    "alpha": alpha,
                    "entropy": masked_mean(fwd_out[model.ENTROPY], weights),
                    "target_entropy": masked_mean(wanted, weights),
                    "value_mean": masked_mean(fwd_out[model.CHOSEN].mean(0), weights),
                },
                key=module_id,
                window=1,
            )
        return critic_loss + actor_loss + alpha_loss
