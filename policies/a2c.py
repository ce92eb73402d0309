"""A2C: one step along the policy gradient per sample (Mnih et al. 2016, synchronous).

Each policy is an actor and a critic, two feed-forward networks that share nothing. Advantages are
returns to the end of the row, bootstrapped there, less the values; with `lambda_` below 1,
generalised advantage estimates. Policies learn by themselves, each from the rewards of its own
agents.

Actions: Discrete, MultiDiscrete and Box, the same space for all agents; action masks are obeyed.
Observations: Box; where [M, F] meets an action of M components, the networks are by default the
same small ones for every component (`network`, `embedding_size`). Agents share policies, or not, by
`policy_mapping_fn(agent, episode)`, which must be a fixed mapping.

    from marlserve import policies
    algo = policies.config("a2c", problem="load_balance", lr=1e-3).build_algo()
    algo.train()["env_runners"]["episode_return_mean"]

An iteration samples `rollout_fragment_length` steps of each of `num_envs_per_env_runner` copies of
the environment per env runner, takes one gradient step on all of them, and forgets them.
"""

from ray.rllib.core.columns import Columns
from torch import Tensor

from marlserve.policies.models.actor_critic import ACTION_SPACES
from marlserve.policies.training.on_policy import OnPolicy
from marlserve.policies.training.on_policy_config import OnPolicyConfig
from marlserve.policies.training.on_policy_learner import ADVANTAGES, OnPolicyLearner, mean

__all__ = ["A2C", "ACTION_SPACES", "A2CConfig", "A2CLearner", "config"]


def config(**training) -> "A2CConfig":
    """A ready `A2CConfig`, one policy for all agents; it lacks the environment.

    Args:
        training: arguments of `A2CConfig.training`, such as `entropy_coeff=0.0`.
    """
    return A2CConfig().of_one_policy().training(**training)


class A2CConfig(OnPolicyConfig):
    """Settings of `A2C`, with defaults that run; `OnPolicyConfig.training()` explains them."""

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or A2C)
        self.lambda_ = 1.0
        self.entropy_coeff = 0.01
        # RLlib's own settings.
        self.lr = 3e-3
        self.num_epochs = 1
        self.minibatch_size = None
        self.num_envs_per_env_runner = 16
        self.rollout_fragment_length = 32

    def validate(self) -> None:
        super().validate()
        for name, value in (("num_epochs", 1), ("minibatch_size", None)):
            if getattr(self, name) != value:
                self._value_error(
                    f"{name} is {getattr(self, name)}; A2C takes one gradient step per sample, "
                    f"so it must be {value}"
                )

    def get_default_learner_class(self) -> type:
        return A2CLearner


class A2C(OnPolicy):
    """Sample, then one gradient step on that."""

    @classmethod
    def get_default_config(cls) -> A2CConfig:
        return A2CConfig()


class A2CLearner(OnPolicyLearner):
    """The loss of A2C."""

    def policy_loss(self, config, batch, out) -> dict[str, Tensor]:
        return {"policy_loss": -mean(out[Columns.ACTION_LOGP] * batch[ADVANTAGES])}
