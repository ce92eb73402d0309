"""What RLlib's own algorithms sample from programs whose agents act together: episodes of several
agents, exactly as many steps as they ask for, and a `MultiRLModule` that plays for all of them."""

from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode

from marlserve.policies.export import rllib_modules  # noqa: F401  teaches `exported`
from marlserve.serving.trainer.runners.episode_runner import epsilon_of, taken
from marlserve.serving.trainer.runners.joint_runner import JointRunner
from marlserve.serving.trainer.runners.team_episodes import TeamEpisodes


class TeamRunner(JointRunner):
    """See the module."""

    def __init__(self, *, config: AlgorithmConfig, **kwargs: Any):
        super().__init__(config=config, **kwargs)
        self._episodes = TeamEpisodes(self.contract, self.config.policy_mapping_fn)

    def sampled(self) -> list[MultiAgentEpisode]:
        """Exactly so many steps as the config says, or what there is."""
        fragments = taken(self, self._episodes)
        self.note_steps(fragments)
        return [self._episodes.episode(each) for each in fragments]

    def epsilon(self) -> float:
        """Of all policies, which have one schedule."""
        steps = self.num_env_steps_sampled_lifetime
        return max(epsilon_of(self.module[name], steps) for name in self.joint.groups)
