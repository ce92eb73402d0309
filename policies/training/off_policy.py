"""Off-policy algorithms: sample rows, store them, learn from random ones.

`DQN`, `SAC`, `SACGRU`, `TD3` and `QMIX` differ in their modules and their losses only. Each policy
learns from rows of its own agents; an algorithm that needs all agents of a step together makes its
batch by itself.

`train_batch_size_per_learner` counts rows of at most `sequence_length` steps, and is the size of
one of the `updates_per_step` updates. By default a sample is one row of every copy of the
environment, and there are as many updates as such rows: what is learned from so many env-steps does
not depend on the number of copies and of env runners.
"""

from typing import Any

from ray.rllib.policy.sample_batch import MultiAgentBatch
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    REPLAY_BUFFER_ADD_DATA_TIMER,
    REPLAY_BUFFER_SAMPLE_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from marlserve.policies.sampling.replay import SequenceReplay
from marlserve.policies.sampling.sequences import Sequences
from marlserve.policies.training.base import PolicyAlgorithm
from marlserve.policies.training.independent import batch_by_policy
from marlserve.policies.training.off_policy_config import OffPolicyConfig

_REPLAY = "replay"


class OffPolicy(PolicyAlgorithm):
    """The base of the algorithms; `learner_batch` is what one may want to make in another way.

    Attributes:
        replay: saved with a checkpoint
    """

    def setup(self, config: OffPolicyConfig) -> None:
        super().setup(config)
        self.replay = SequenceReplay(self.config.replay_capacity, self.config.seed)

    def learner_batch(self, sequences: Sequences) -> MultiAgentBatch:
        """What the learners are given of these rows."""
        return batch_by_policy(sequences, self.groups, self.own_spaces)

    def training_step(self) -> None:
        config, metrics = self.config, self.metrics
        samples = self.sampled()
        with metrics.log_time((TIMERS, REPLAY_BUFFER_ADD_DATA_TIMER)):
            for sequences in samples:
                self.reward_standardizer.observe(sequences)
                self.replay.add(sequences)
        steps = metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        if steps < config.learning_starts or len(self.replay) < config.total_train_batch_size:
            return
        with metrics.log_time((TIMERS, REPLAY_BUFFER_SAMPLE_TIMER)):
            rows = config.total_train_batch_size * config.get_updates_per_step()
            sequences = self.replay.sample(rows)
            if config.standardize_rewards:
                sequences = self.reward_standardizer.apply(sequences)
            batch = self.learner_batch(sequences)
        with metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            results = self.learner_group.update(
                batch=batch, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: steps}
            )
        metrics.aggregate(results, key=LEARNER_RESULTS)
        with metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.learner_group,
                policies=list(self.groups),
                inference_only=True,
            )

    def get_state(self, components=None, *, not_components=None, **kwargs) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self.config.store_buffer_in_checkpoints and self._check_component(
            _REPLAY, components, not_components
        ):
            state[_REPLAY] = self.replay.get_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if _REPLAY in state:
            self.replay.set_state(state[_REPLAY])
