"""DQN: one Q-network per policy, double and dueling, with targets that look as far as a row.

Mnih et al. 2015, van Hasselt et al. 2016 (double), Wang et al. 2016 (dueling). Each agent learns
from its own reward. Actions: Discrete. Observations: Box.

    from marlserve import policies
    algo = policies.config("dqn").environment(GymnasiumEnv, env_config={"id": "CartPole-v1"})
    algo.build_algo().train()["env_runners"]["episode_return_mean"]

`off_policy` has what is common to off-policy algorithms, `train_batch_size_per_learner` included.
"""

from typing import Any, ClassVar

import torch
from gymnasium.spaces import Discrete
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from marlserve.policies.models.dqn import CHOSEN, NEXT, DQNModule
from marlserve.policies.training.off_policy import OffPolicy
from marlserve.policies.training.off_policy_config import OffPolicyConfig
from marlserve.policies.training.off_policy_learner import (
    OffPolicyLearner,
    loss_weights,
    masked_mean,
    td_targets,
)

ACTION_SPACES = (Discrete,)


def config(**training) -> "DQNConfig":
    """A ready `DQNConfig`, one policy for all agents; it lacks the environment.

    Args:
        training: arguments of `DQNConfig.training`, such as `hidden_sizes=[128]`.
    """
    return DQNConfig().of_one_policy().training(**training)


class DQNConfig(OffPolicyConfig):
    """Settings of `DQN`, with defaults that run; `training()` explains them."""

    ACTION_SPACES = ACTION_SPACES
    MODEL_FIELDS: ClassVar[tuple[str, ...]] = (
        *("network", "hidden_sizes", "hidden_size", "embedding_size"),
        *("double_q", "epsilon"),
    )

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or DQN)
        self.network = "auto"
        self.hidden_sizes = [128, 128]
        self.hidden_size = 64
        self.embedding_size = 0
        self.double_q = True
        self.epsilon = [[0, 1.0], [20_000, 0.05]]
        # Rows of some steps, so that what an action leads to is learned in one update.
        self.sequence_length = 8
        self.td_lambda = 0.9
        self.replay_capacity = 12_500
        # RLlib's own settings, where DQN wants other values.
        self.lr = 1e-3
        self.grad_clip = 10.0
        self.train_batch_size_per_learner = 16
        self.num_envs_per_env_runner = 8

    def training(
        self,
        *,
        network: str = NotProvided,
        hidden_sizes: list[int] = NotProvided,
        hidden_size: int = NotProvided,
        embedding_size: int = NotProvided,
        double_q: bool = NotProvided,
        epsilon: float | list = NotProvided,
        **kwargs,
    ) -> "DQNConfig":
        """Set what concerns training; other arguments are those of `OffPolicyConfig.training`.

        Args:
            network: "flat", "per_component", or "auto": per component where the observation [M, F]
                describes M things of which the action chooses one.
            hidden_sizes: widths of the layers of a flat, dueling network.
            hidden_size: width of a network per component.
            embedding_size: numbers that tell its components apart; 0 for none.
            double_q: the online network chooses the next action, the target network values it.
            epsilon: share of random choices, a number or [[env_steps, value], ...].
        """
        self._set(locals())
        return super().training(**kwargs)

    def validate(self) -> None:
        super().validate()
        self._check_sizes("hidden_sizes")
        self._check_network()
        self._check_schedule("epsilon")

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=DQNModule)

    def get_default_learner_class(self) -> type:
        return DQNLearner


class DQN(OffPolicy):
    """Samples with an epsilon-greedy policy, learns the values of the greedy one."""

    @classmethod
    def get_default_config(cls) -> DQNConfig:
        return DQNConfig()


class DQNLearner(OffPolicyLearner):
    """The Huber loss of the values of what was done."""

    def compute_loss_for_module(
        self,
        *,
        module_id: str,
        config: DQNConfig,
        batch: dict[str, Any],
        fwd_out: dict[str, Tensor],
    ) -> Tensor:
        values = fwd_out[CHOSEN]
        targets = td_targets(batch, fwd_out[NEXT], config.gamma, config.td_lambda)
        weights = loss_weights(batch, config.burn_in)
        loss = masked_mean(smooth_l1_loss(values, targets, reduction="none"), weights)
        with torch.no_grad():
            self.metrics.log_dict(
                {
                    "td_error_abs": masked_mean((values - targets).abs(), weights),
                    "value_mean": masked_mean(values, weights),
                    "target_mean": masked_mean(targets, weights),
                },
                key=module_id,
                window=1,
            )
        return loss
