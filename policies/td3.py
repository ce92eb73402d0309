"""TD3: a deterministic policy for Box actions, with twin critics and a delayed actor.

Fujimoto et al. 2018, "Addressing Function Approximation Error in Actor-Critic Methods": the lesser
of two target critics, smoothed target actions, and an actor that is updated every `policy_delay`
updates of the critics. Each agent learns from its own reward. Observations: Box.

    from marlserve import policies
    algo = policies.config("td3").environment(GymnasiumEnv, env_config={"id": "Pendulum-v1"})
    algo.build_algo().train()["env_runners"]["episode_return_mean"]

`off_policy` has what is common to off-policy algorithms, `train_batch_size_per_learner` included.
"""

from typing import Any, ClassVar

from gymnasium.spaces import Box
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import Tensor

from marlserve.policies.models.td3 import CHOSEN, NEXT, TD3Module
from marlserve.policies.training.off_policy import OffPolicy
from marlserve.policies.training.off_policy_config import OffPolicyConfig
from marlserve.policies.training.off_policy_learner import (
    OffPolicyLearner,
    loss_weights,
    masked_mean,
    td_targets,
)

ACTION_SPACES = (Box,)


def config(**training) -> "TD3Config":
    """A ready `TD3Config`, one policy for all agents; it lacks the environment.

    Args:
        training: arguments of `TD3Config.training`, such as `policy_delay=2`.
    """
    return TD3Config().of_one_policy().training(**training)


class TD3Config(OffPolicyConfig):
    """Settings of `TD3`, with defaults that run; `training()` explains them."""

    ACTION_SPACES = ACTION_SPACES
    MODEL_FIELDS: ClassVar[tuple[str, ...]] = (
        "hidden_sizes",
        "exploration_noise",
        "random_timesteps",
        "target_noise",
        "target_noise_clip",
    )
    AT_LEAST: ClassVar[dict[str, int]] = OffPolicyConfig.AT_LEAST | {
        "policy_delay": 1,
        "random_timesteps": 0,
    }
    SHARES: ClassVar[dict[str, float]] = OffPolicyConfig.SHARES | {
        "exploration_noise": 0.0,
        "target_noise": 0.0,
        "target_noise_clip": 0.0,
    }

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or TD3)
        self.hidden_sizes = [128, 128]
        self.policy_delay = 2
        self.exploration_noise = 0.1
        self.random_timesteps = 1_000
        self.target_noise = 0.2
        self.target_noise_clip = 0.5
        self.target_network_update_freq = 2
        # RLlib's own settings, where TD3 wants other values.
        self.lr = 1e-3
        self.train_batch_size_per_learner = 128
        self.num_envs_per_env_runner = 32

    def training(
        self,
        *,
        hidden_sizes: list[int] = NotProvided,
        policy_delay: int = NotProvided,
        exploration_noise: float = NotProvided,
        random_timesteps: int = NotProvided,
        target_noise: float = NotProvided,
        target_noise_clip: float = NotProvided,
        **kwargs,
    ) -> "TD3Config":
        """Set what concerns training; other arguments are those of `OffPolicyConfig.training`.

        Noise is in the units of the module's actions, whose range is -1 to 1.

        Args:
            hidden_sizes: widths of the layers, of the actor and of each critic.
            policy_delay: updates of the critics for one of the actor.
            exploration_noise: standard deviation of what is added to the actions to explore.
            random_timesteps: environment steps at the start with uniformly random actions.
            target_noise: standard deviation of the smoothing of target actions.
            target_noise_clip: the most that smoothing moves an action.
        """
        self._set(locals())
        return super().training(**kwargs)

    def validate(self) -> None:
        super().validate()
        self._check_sizes("hidden_sizes")

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=TD3Module)

    def get_default_learner_class(self) -> type:
        return TD3Learner


class TD3(OffPolicy):
    """Samples with noise; greedy play is the actor's own action."""

    @classmethod
    def get_default_config(cls) -> TD3Config:
        return TD3Config()


class TD3Learner(OffPolicyLearner):
    """Losses of critics and actor; in updates that are not the actor's, nothing of it changes."""

    def configure_optimizers_for_module(self, module_id: str, config: TD3Config = None) -> None:
        module = self.module[module_id].unwrapped()
        self.add_optimizer(module_id, "critics", list(module.critics.parameters()), config)
        self.add_optimizer(module_id, "actor", list(module.actor.parameters()), config)

    def compute_loss_for_module(
        self,
        *,
        module_id: str,
        config: TD3Config,
        batch: dict[str, Any],
        fwd_out: dict[str, Tensor],
    ) -> Tensor:
        module, weights = self.module[module_id].unwrapped(), loss_weights(batch, config.burn_in)
        targets = td_targets(batch, fwd_out[NEXT], config.gamma, config.td_lambda)
        critic_loss = masked_mean((fwd_out[CHOSEN] - targets).square().sum(0), weights)
        log = {
            "critic_loss": critic_loss,
            "value_mean": masked_mean(fwd_out[CHOSEN].mean(0), weights),
        }
        if self._is_actors_turn():
            actor_loss = log["actor_loss"] = -masked_mean(module.actor_values(batch), weights)
        else:  # Learners that work together wait for a gradient of every parameter.
            actor_loss = 0.0 * sum(parameter.sum() for parameter in module.actor.parameters())
        log = {name: value.detach() for name, value in log.items()}
        self.metrics.log_dict(log, key=module_id, window=1)
        return critic_loss + actor_loss

    def compute_gradients(self, loss_per_module: dict[str, Tensor], **kwargs) -> dict:
        gradients = super().compute_gradients(loss_per_module, **kwargs)
        if not self._is_actors_turn():
            for module in self.module.values():
                for parameter in module.unwrapped().actor.parameters():
                    # Not zero: Adam would move by its momentum.
                    gradients.pop(self.get_param_ref(parameter), None)
                    parameter.grad = None
        return gradients

    def _is_actors_turn(self) -> bool:
        return (self._num_updates + 1) % self.config.policy_delay == 0
