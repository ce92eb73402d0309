"""What the algorithms here share: a restore that reaches all env runners, and a policy mapping.

RLlib (2.60) sends restored weights to remote env runners without waiting, and drops the message
if another is under way; the runners then sample with their random first weights. A runner also
ignores weights that are older than what it has, as when an earlier checkpoint is restored into a
running algorithm.
"""

import ray
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    WEIGHTS_SEQ_NO,
)


def shared_policy(agent_id: str, episode=None, **kwargs) -> str:
    """A `policy_mapping_fn`: one policy, "shared", for all agents."""
    return "shared"


class RestoresEverywhere:
    """Mix-in, before `Algorithm` in the bases."""

    def restore_from_path(self, path, *args, **kwargs) -> None:
        super().restore_from_path(path, *args, **kwargs)
        self.sync_all_env_runners()

    def sync_all_env_runners(self) -> None:
        """Give all env runners, local, remote and those of evaluation, the learners' weights."""
        self.sync_env_runners(self.env_runner_group, self.eval_env_runner_group)

    def sync_env_runners(self, *groups: EnvRunnerGroup | None) -> None:
        """Give the env runners of these groups the learners' weights.

        Returns when they have them. The number of environment steps goes with the weights, for
        exploration schedules.
        """
        learner = self.learner_group.get_state(
            components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=True
        )[COMPONENT_LEARNER]
        steps = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        state = ray.put(
            {
                COMPONENT_RL_MODULE: learner[COMPONENT_RL_MODULE],
                WEIGHTS_SEQ_NO: learner[WEIGHTS_SEQ_NO],
                NUM_ENV_STEPS_SAMPLED_LIFETIME: int(steps),
            }
        )

        def accept(runner: EnvRunner) -> None:
            runner._weights_seq_no = 0  # older weights are welcome too
            runner.set_state(ray.get(state))

        for group in groups:
            if group is not None:
                group.foreach_env_runner(accept)
