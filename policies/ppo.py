"""PPO: a clipped surrogate loss, several epochs per sample (Schulman et al. 2017).

Each policy is an actor and a critic, two feed-forward networks that share nothing; advantages are
generalised advantage estimates. Policies learn by themselves, each from the rewards of its own
agents.

Actions: Discrete, MultiDiscrete and Box, the same space for all agents; action masks are obeyed.
Observations: Box; where [M, F] meets an action of M components, the networks are by default the
same small ones for every component (`network`, `embedding_size`). Agents share policies, or not, by
`policy_mapping_fn(agent, episode)`, which must be a fixed mapping.

    from marlserve import policies
    algo = policies.config("ppo", problem="load_balance", clip_param=0.1).build_algo()
    algo.train()["env_runners"]["episode_return_mean"]

An iteration samples `rollout_fragment_length` steps of each of `num_envs_per_env_runner` copies of
the environment per env runner; `minibatch_size` counts transitions, per learner, of the policy that
has the most.
"""

import torch
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.columns import Columns
from torch import Tensor

from marlserve.policies.models.actor_critic import ACTION_SPACES
from marlserve.policies.training.on_policy import OnPolicy
from marlserve.policies.training.on_policy_config import OnPolicyConfig
from marlserve.policies.training.on_policy_learner import (
    ADVANTAGES,
    OLD_VALUES,
    VALUE_TARGETS,
    OnPolicyLearner,
    mean,
)

__all__ = ["ACTION_SPACES", "PPO", "PPOConfig", "PPOLearner", "config"]
_KL = "kl"


def config(**training) -> "PPOConfig":
    """A ready `PPOConfig`, one policy for all agents; it lacks the environment.

    Args:
        training: arguments of `PPOConfig.training`, such as `clip_param=0.1`.
    """
    return PPOConfig().of_one_policy().training(**training)


class PPOConfig(OnPolicyConfig):
    """Settings of `PPO`, with defaults that run."""

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or PPO)
        self.clip_param = 0.2
        self.vf_clip_param = None
        self.kl_target = None
        # RLlib's own settings.
        self.lr = 3e-3
        self.num_epochs = 4
        self.minibatch_size = 256
        self.num_envs_per_env_runner = 32
        self.rollout_fragment_length = 128

    def training(
        self,
        *,
        clip_param: float = NotProvided,
        vf_clip_param: float | None = NotProvided,
        kl_target: float | None = NotProvided,
        **kwargs,
    ) -> "PPOConfig":
        """Set what concerns training; other arguments are those of `OnPolicyConfig.training`.

        Args:
            clip_param: how far the ratio of probabilities may leave 1 before it has no gradient.
            vf_clip_param: the same for values, in standard deviations of the returns; None for no
                limit.
            kl_target: no further epoch after one with a mean divergence above this; None for
                always `num_epochs`.
        """
        self._set(locals())
        return super().training(**kwargs)

    def validate(self) -> None:
        super().validate()
        for name in ("clip_param", "vf_clip_param", "kl_target"):
            value = getattr(self, name)
            if value is None and name != "clip_param":
                continue
            if not value > 0:
                self._value_error(f"{name} is {value!r}; it must be positive")

    def get_default_learner_class(self) -> type:
        return PPOLearner


class PPO(OnPolicy):
    """Sample, then several epochs of minibatches on that."""

    @classmethod
    def get_default_config(cls) -> PPOConfig:
        return PPOConfig()


class PPOLearner(OnPolicyLearner):
    """The losses of PPO."""

    def policy_loss(self, config, batch, out) -> dict[str, Tensor]:
        log_ratio = out[Columns.ACTION_LOGP] - batch[Columns.ACTION_LOGP]
        ratio, advantages = log_ratio.exp(), batch[ADVANTAGES]
        clipped = ratio.clamp(1 - config.clip_param, 1 + config.clip_param)
        surrogate = torch.minimum(ratio * advantages, clipped * advantages)
        with torch.no_grad():
            divergence = ratio - 1 - log_ratio  # Schulman's estimate: no term is negative
            beyond = (ratio != clipped).float()
        return {
            "policy_loss": -mean(surrogate),
            _KL: mean(divergence),
            "clip_fraction": mean(beyond),
        }

    def value_loss(self, config, batch, out) -> Tensor:
        if config.vf_clip_param is None:
            return super().value_loss(config, batch, out)
        values, old, targets = out[Columns.VF_PREDS], batch[OLD_VALUES], batch[VALUE_TARGETS]
        near = old + (values - old).clamp(-config.vf_clip_param, config.vf_clip_param)
        error = torch.maximum((values - targets).square(), (near - targets).square())
        return 0.5 * mean(error)

    def is_enough(self, num_minibatches: int) -> bool:
        if self.config.kl_target is None:
            return False
        newest = [
            torch.stack(values[-num_minibatches:]).mean()
            for (_, name), values in self._terms.items()
            if name == _KL
        ]
        (divergence,) = self.averaged([float(max(newest))])
        return divergence > self.config.kl_target
