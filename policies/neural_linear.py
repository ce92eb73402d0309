"""NeuralLinear: a contextual bandit, LinUCB on the last layers of networks.

Riquelme, Tucker, Snoek 2018, "Deep Bayesian Bandits Showdown", arXiv 1802.09127: networks learn
what to look at, and Bayesian linear regression on their last hidden layers tells mean and
uncertainty of each arm. It explores by the upper bound of LinUCB (Li et al. 2010, arXiv 1003.0146)
instead of by Thompson sampling; `models.neural_linear` has the formulas.

Actions: Discrete. Observations: Box, [d] for a context that all K arms share, or [K, d] for one
per arm. Every step is a round of its own.

    from marlserve import policies
    algo = policies.config("neural_linear", problem="contextual_bandit").build_algo()
    algo.train()["env_runners"]["episode_return_mean"]

`training.bandit` has what happens in a `training_step`.
"""

from typing import ClassVar

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from marlserve.policies.models.neural_linear import NeuralLinearModule
from marlserve.policies.training.bandit import Bandit
from marlserve.policies.training.bandit_config import BanditConfig

ACTION_SPACES = BanditConfig.ACTION_SPACES


def config(**training) -> "NeuralLinearConfig":
    """A ready `NeuralLinearConfig`, one policy for all agents; it lacks the environment.

    Args:
        training: arguments of `NeuralLinearConfig.training`, such as `num_networks=3`.
    """
    return NeuralLinearConfig().of_one_policy().training(**training)


class NeuralLinearConfig(BanditConfig):
    """Settings of `NeuralLinear`, with defaults that run; `training()` explains them."""

    MODEL_FIELDS: ClassVar[tuple[str, ...]] = (*BanditConfig.MODEL_FIELDS, "num_networks")
    AT_LEAST: ClassVar[dict[str, int]] = BanditConfig.AT_LEAST | {"num_networks": 1}

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or NeuralLinear)
        self.num_networks = 1

    def training(self, *, num_networks: int = NotProvided, **kwargs) -> "NeuralLinearConfig":
        """Set what concerns training; other arguments are those of `BanditConfig.training`.

        Args:
            num_networks: from different first weights, with their last layers side by side: what
                one of them overlooks, another may see.
        """
        self._set(locals())
        return super().training(**kwargs)

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=NeuralLinearModule)


class NeuralLinear(Bandit):
    """Plays by upper confidence bounds of its regression."""

    @classmethod
    def get_default_config(cls) -> NeuralLinearConfig:
        return NeuralLinearConfig()
