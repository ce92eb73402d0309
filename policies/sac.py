"""SAC: a stochastic policy that earns reward and entropy, with feed-forward networks.

Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications"; for Discrete actions with
exact expectations, Christodoulou 2019. Twin critics; the temperature alpha is learned so that the
policy's entropy is `target_entropy` on average. Each agent learns from its own reward. Actions:
Discrete, MultiDiscrete and bounded Box. Observations: Box.

    from marlserve import policies
    algo = policies.config("sac").environment(GymnasiumEnv, env_config={"id": "Pendulum-v1"})
    algo.build_algo().train()["env_runners"]["episode_return_mean"]

`off_policy` has what is common to off-policy algorithms, `train_batch_size_per_learner` included;
`sac_gru` is the same with memory.
"""

from typing import ClassVar

from gymnasium.spaces import Box, Discrete, MultiDiscrete
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from marlserve.policies.models.sac import SACModule
from marlserve.policies.training.entropy_config import EntropyConfig
from marlserve.policies.training.off_policy import OffPolicy
from marlserve.policies.training.sac_learner import SACLearner

ACTION_SPACES = (Discrete, MultiDiscrete, Box)


def config(**training) -> "SACConfig":
    """A ready `SACConfig`, one policy for all agents; it lacks the environment.

    Args:
        training: arguments of `SACConfig.training`, such as `target_entropy=-2.0`.
    """
    return SACConfig().of_one_policy().training(**training)


class SACConfig(EntropyConfig):
    """Settings of `SAC`, with defaults that run; `training()` explains them."""

    ACTION_SPACES = ACTION_SPACES
    MODEL_FIELDS: ClassVar[tuple[str, ...]] = ("hidden_sizes", "initial_alpha")

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or SAC)
        self.hidden_sizes = [128, 128]
        # RLlib's own settings, where SAC wants other values.
        self.lr = 1e-3
        self.train_batch_size_per_learner = 128
        self.num_envs_per_env_runner = 32

    def training(self, *, hidden_sizes: list[int] = NotProvided, **kwargs) -> "SACConfig":
        """Set what concerns training; other arguments are those of `EntropyConfig.training`.

        Args:
            hidden_sizes: widths of the layers, of the actor and of each critic.
        """
        self._set(locals())
        return super().training(**kwargs)

    def validate(self) -> None:
        super().validate()
        self._check_sizes("hidden_sizes")

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=SACModule)

    def get_default_learner_class(self) -> type:
        return SACLearner


class SAC(OffPolicy):
    """Samples with the stochastic policy; greedy play takes its most likely action."""

    @classmethod
    def get_default_config(cls) -> SACConfig:
        return SACConfig()
