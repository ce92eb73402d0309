"""What PPO and A2C do alike: sample with the present weights, learn from that, send new weights.

Every iteration learns from steps that were chosen by the very weights that it starts from. The
env runners hand out rows at the end of each sample, full or not (`cut_rows`), so none reaches into
the next iteration; and the new weights are sent to all of them, and awaited, before the next one.
"""

import numpy as np
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from marlserve.policies.sampling.sequences import Sequences
from marlserve.policies.training.base import PolicyAlgorithm
from marlserve.policies.training.independent import batch_by_policy
from marlserve.policies.training.multiplier import Multiplier
from marlserve.policies.training.on_policy_config import OnPolicyConfig

_MULTIPLIER = "multiplier"


class OnPolicy(PolicyAlgorithm):
    """Each policy learns by itself from what its agents did.

    Attributes:
        multiplier: of the problem's constraint; saved with a checkpoint
    """

    config: OnPolicyConfig

    def setup(self, config: OnPolicyConfig) -> None:
        super().setup(config)
        self._generator = np.random.default_rng(self.config.seed)
        self.multiplier = self.saved[_MULTIPLIER] = Multiplier(self.config.multiplier_lr)

    def training_step(self) -> None:
        metrics = self.metrics
        samples = self.sampled()
        if not samples:  # no env runner is left; RLlib restarts them
            return
        with metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            steps = metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME))
            results = self.learner_group.update(
                batch=batch_by_policy(self._prepared(samples), self.groups, self.own_spaces),
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
        if self.config.needs_costs:
            self.multiplier.observe(sequences)
            sequences = self.multiplier.apply(sequences)
            for name in ("price", "mean_cost"):
                self.metrics.log_value(
                    (_MULTIPLIER, name), getattr(self.multiplier, name), reduce="mean", window=1
                )
        return sequences
