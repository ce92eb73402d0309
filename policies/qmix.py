"""QMIX: agents that act on their own observations and learn together from the team's reward.

Each policy is a Q-network, recurrent by default, with one head per action component. A mixer
makes one value of all heads' values, and the loss is on that. `mixer` chooses the algorithm:

- "qmix": a monotonic network whose weights depend on the global state (Rashid et al. 2018)
- "vdn": the sum (Sunehag et al. 2018)
- "none": independent learners, each from its own reward

Actions: Discrete and MultiDiscrete, the same space for all agents. Observations: Box. Agents share
policies, or not, by `policy_mapping_fn(agent, episode)`, which must be a fixed mapping.

    from marlserve import policies
    algo = policies.config("qmix", problem="load_balance", mixer="vdn").build_algo()
    algo.train()["env_runners"]["episode_return_mean"]

`train_batch_size_per_learner` counts rows of at most `sequence_length` steps.
"""

from typing import ClassVar

from ray.rllib.policy.sample_batch import MultiAgentBatch

from marlserve.policies.off_policy import OffPolicy
from marlserve.policies.qmix_config import ACTION_SPACES, QMIXConfig
from marlserve.policies.qmix_learner import learner_batch
from marlserve.policies.sampling.sequences import Sequences

__all__ = ["ACTION_SPACES", "QMIX", "config"]


def config(**training) -> QMIXConfig:
    """A ready `QMIXConfig`, one policy for all agents; it lacks the environment.

    Args:
        training: arguments of `QMIXConfig.training`, such as `mixer="vdn"`.
    """
    return QMIXConfig().of_one_policy().env_runners(num_envs_per_env_runner=32).training(**training)


class QMIX(OffPolicy):
    """Learns from the rows of all agents together, and from the global state."""

    NOT_STORED: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def get_default_config(cls) -> QMIXConfig:
        return QMIXConfig()

    def learner_batch(self, sequences: Sequences) -> MultiAgentBatch:
        return learner_batch(sequences, self.groups)
