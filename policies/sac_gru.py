"""SAC with memory: each of its networks is a GRU over what its agent saw in the episode.

`sac` says how it learns. Rows of `sequence_length` steps are stored as they were sampled, one
after another, each with the actor's hidden state before it. That state is as old as the row, so
the first `burn_in` steps of a row only refresh it (Kapturowski et al. 2019, R2D2): no loss, no
gradient. Only rows that start an episode count in full; an episode that fits into a row loses
nothing. `models.sac_gru` says what the critics know of earlier rows.

Actions: Discrete, MultiDiscrete (a choice of its own for each component, values that add up) and
bounded Box. Observations: Box; of shape [M, F], with actions of M components, the networks
are the same small one for each component (`network`).

Each agent learns from its own reward. An environment with one agent is learned by one policy;
several agents are independent learners, with a policy that they share or, by
`policy_mapping_fn(agent, episode)`, with policies of their own:

    from marlserve import policies
    config = policies.config("sac_gru", problem="load_balance", env_config={"num_balancers": 1})
    config.build_algo().train()["env_runners"]["episode_return_mean"]

`train_batch_size_per_learner` counts rows of at most `sequence_length` steps.
"""

from typing import ClassVar

from gymnasium.spaces import Box, Discrete, MultiDiscrete
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from marlserve.policies.models.sac_gru import SACGRUModule
from marlserve.policies.training.entropy_config import EntropyConfig
from marlserve.policies.training.off_policy import OffPolicy
from marlserve.policies.training.recurrent_config import RecurrentConfig
from marlserve.policies.training.sac_learner import SACLearner

ACTION_SPACES = (Discrete, MultiDiscrete, Box)


def config(**training) -> "SACGRUConfig":
    """A ready `SACGRUConfig`, one policy for all agents; it lacks the environment.

    Args:
        training: arguments of `SACGRUConfig.training`, such as `hidden_size=128`.
    """
    return SACGRUConfig().of_one_policy().training(**training)


class SACGRUConfig(EntropyConfig, RecurrentConfig):
    """Settings of `SACGRU`, with defaults that run; `training()` of both bases explains them."""

    ACTION_SPACES = ACTION_SPACES
    MODEL_FIELDS: ClassVar[tuple[str, ...]] = (
        *RecurrentConfig.MODEL_FIELDS,
        "initial_alpha",
        "burn_in",
    )

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or SACGRU)
        self.initial_alpha = 0.1
        # RLlib's own settings, where recurrent SAC wants other values.
        self.lr = 1e-3
        self.num_envs_per_env_runner = 8

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=SACGRUModule)

    def get_default_learner_class(self) -> type:
        return SACLearner


class SACGRU(OffPolicy):
    """Samples with the stochastic policy; greedy play takes its most likely action."""

    @classmethod
    def get_default_config(cls) -> SACGRUConfig:
        return SACGRUConfig()
