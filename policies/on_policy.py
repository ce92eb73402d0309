"""What PPO and A2C do alike: sample with the present weights, learn from that, send new weights.

Every iteration learns from steps that were chosen by the very weights that it starts from. The
env runners hand out rows at the end of each sample, full or not (`cut_rows`), so none reaches into
the next iteration; and the new weights are sent to all of them, and awaited, before the next one.
"""

from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from marlserve.policies.base import RestoresEverywhere
from marlserve.policies.independent import batch_by_policy
from marlserve.policies.on_policy_config import OnPolicyConfig
from marlserve.policies.rewards import RewardStandardizer
from marlserve.policies.sampling.acting import agent_groups
from marlserve.policies.sampling.episodes import Episode
from marlserve.policies.sampling.sequences import Sequences

_REWARDS = "reward_standardizer"


class OnPolicy(RestoresEverywhere, Algorithm):
    """Each policy learns by itself from what its agents did."""

    config: OnPolicyConfig

    def setup(self, config: OnPolicyConfig) -> None:
        super().setup(config)
        agents = list(self.spaces[INPUT_ENV_SINGLE_SPACES][0].spaces)
        self.groups = agent_groups(agents, self.config.policy_mapping_fn, Episode(tuple(agents)))
        self.reward_standardizer = RewardStandardizer()
        self._generator = np.random.default_rng(self.config.seed)

    def training_step(self) -> None:
        metrics = self.metrics
        with metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            samples, results = synchronous_parallel_sample(
                worker_set=self.env_runner_group,
                concat=True,
                sample_timeout_s=self.config.sample_timeout_s,
                _uses_new_env_runners=True,
                _return_metrics=True,
            )
        metrics.aggregate(results, key=ENV_RUNNER_RESULTS)
        if not samples:  # no env runner is left; RLlib restarts them
            return
        with metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            steps = metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME))
            results = self.learner_group.update(
                batch=batch_by_policy(self._prepared(samples), self.groups),
                timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: steps},
            )
        metrics.aggregate(results, key=LEARNER_RESULTS)
        with metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.sync_env_runners(self.env_runner_group)

    def _prepared(self, samples: list[Sequences]) -> Sequences:
        sequences = Sequences.concatenate(samples)
        if self.config.num_learners > 1:  # each gets a share of the rows: short and long ones
            sequences = sequences.rows(self._generator.permutation(len(sequences)))
        if self.config.standardize_rewards:
            self.reward_standardizer.observe(sequences)
            sequences = self.reward_standardizer.apply(sequences)
        return sequences

    def get_state(self, components=None, *, not_components=None, **kwargs) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(_REWARDS, components, not_components):
            state[_REWARDS] = self.reward_standardizer.get_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if _REWARDS in state:
            self.reward_standardizer.set_state(state[_REWARDS])
