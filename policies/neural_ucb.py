"""NeuralUCB: a contextual bandit whose uncertainty is in the gradient of its network.

Zhou, Li, Gu 2020, "Neural Contextual Bandits with UCB-based Exploration", arXiv 1911.04462: the
mean of an arm is the network's output, its uncertainty the length of the output's gradient by the
weights, in the metric of all gradients so far; `models.neural_ucb` has the formulas.

Actions: Discrete. Observations: Box, [d] for a context that all K arms share, or [K, d] for one
per arm. Every step is a round of its own.

    from marlserve import policies
    algo = policies.config("neural_ucb", problem="contextual_bandit").build_algo()
    algo.train()["env_runners"]["episode_return_mean"]

`training.bandit` has what happens in a `training_step`.
"""

from typing import ClassVar

import gymnasium
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from marlserve.policies.models.neural_ucb import (
    COVARIANCES,
    MAX_FULL_WEIGHTS,
    NeuralUCBModule,
    layer_shapes,
)
from marlserve.policies.training.bandit import Bandit
from marlserve.policies.training.bandit_config import BanditConfig

ACTION_SPACES = BanditConfig.ACTION_SPACES


def config(**training) -> "NeuralUCBConfig":
    """A ready `NeuralUCBConfig`, one policy for all agents; it lacks the environment.

    Args:
        training: arguments of `NeuralUCBConfig.training`, such as `ucb_beta=0.1`.
    """
    return NeuralUCBConfig().of_one_policy().training(**training)


class NeuralUCBConfig(BanditConfig):
    """Settings of `NeuralUCB`, with defaults that run; `training()` explains them."""

    MODEL_FIELDS: ClassVar[tuple[str, ...]] = (*BanditConfig.MODEL_FIELDS, "covariance")

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or NeuralUCB)
        self.covariance = "diagonal"

    def training(self, *, covariance: str = NotProvided, **kwargs) -> "NeuralUCBConfig":
        """Set what concerns training; other arguments are those of `BanditConfig.training`.

        Args:
            covariance: "full" for all of A, in networks of at most 1,000 weights, or "diagonal".
        """
        self._set(locals())
        return super().training(**kwargs)

    def validate(self) -> None:
        super().validate()
        if self.covariance not in COVARIANCES:
            self._value_error(f"covariance is {self.covariance!r}; allowed are {COVARIANCES}")

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=NeuralUCBModule)

    def _check_spaces(
        self, module_id: str, observations: gymnasium.Space, actions: gymnasium.Space
    ) -> None:
        super()._check_spaces(module_id, observations, actions)
        assert isinstance(observations, Box)  # as was checked above
        assert isinstance(actions, Discrete)
        layers = layer_shapes(observations, int(actions.n), self.hidden_sizes)
        weights = sum(outputs * inputs for outputs, inputs in layers)
        if self.covariance == "full" and weights > MAX_FULL_WEIGHTS:
            raise ValueError(
                f"hidden_sizes is {self.hidden_sizes}: the network of policy {module_id!r} has "
                f"{weights} weights; covariance 'full' allows {MAX_FULL_WEIGHTS}, 'diagonal' any "
                "number"
            )


class NeuralUCB(Bandit):
    """Plays by upper confidence bounds of its network."""

    @classmethod
    def get_default_config(cls) -> NeuralUCBConfig:
        return NeuralUCBConfig()
