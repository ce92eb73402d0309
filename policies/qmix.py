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

from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    REPLAY_BUFFER_ADD_DATA_TIMER,
    REPLAY_BUFFER_SAMPLE_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from marlserve.policies.base import RestoresEverywhere, shared_policy
from marlserve.policies.qmix_config import QMIXConfig
from marlserve.policies.qmix_learner import learner_batch
from marlserve.policies.rewards import RewardStandardizer
from marlserve.policies.sampling.acting import agent_groups
from marlserve.policies.sampling.episodes import Episode
from marlserve.policies.sampling.replay import SequenceReplay

_REPLAY, _REWARDS = "replay", "reward_standardizer"


def config(**training) -> QMIXConfig:
    """A ready `QMIXConfig`, one policy for all agents; it lacks the environment.

    Args:
        training: arguments of `QMIXConfig.training`, such as `mixer="vdn"`.
    """
    return (
        QMIXConfig()
        .multi_agent(policies={"shared"}, policy_mapping_fn=shared_policy)
        .env_runners(num_envs_per_env_runner=32)
        .training(**training)
    )


class QMIX(RestoresEverywhere, Algorithm):
    """Sample rows, store them, learn from random ones."""

    @classmethod
    def get_default_config(cls) -> QMIXConfig:
        return QMIXConfig()

    def setup(self, config: QMIXConfig) -> None:
        super().setup(config)
        agents = list(self.spaces[INPUT_ENV_SINGLE_SPACES][0].spaces)
        self._groups = agent_groups(agents, self.config.policy_mapping_fn, Episode(tuple(agents)))
        self.replay = SequenceReplay(self.config.replay_capacity, self.config.seed)
        self.reward_standardizer = RewardStandardizer()

    def training_step(self) -> None:
        config, metrics = self.config, self.metrics
        with metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            samples, results = synchronous_parallel_sample(
                worker_set=self.env_runner_group,
                concat=True,
                sample_timeout_s=config.sample_timeout_s,
                _uses_new_env_runners=True,
                _return_metrics=True,
            )
        metrics.aggregate(results, key=ENV_RUNNER_RESULTS)
        with metrics.log_time((TIMERS, REPLAY_BUFFER_ADD_DATA_TIMER)):
            for sequences in samples:
                self.replay.add(sequences)
                self.reward_standardizer.observe(sequences)
        steps = metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        if steps < config.learning_starts or len(self.replay) < config.total_train_batch_size:
            return
        for _ in range(config.updates_per_step):
            with metrics.log_time((TIMERS, REPLAY_BUFFER_SAMPLE_TIMER)):
                sequences = self.replay.sample(config.total_train_batch_size)
                if config.standardize_rewards:
                    sequences = self.reward_standardizer.apply(sequences)
                batch = learner_batch(sequences, self._groups)
            with metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
                results = self.learner_group.update(
                    batch=batch, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: steps}
                )
            metrics.aggregate(results, key=LEARNER_RESULTS)
        with metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.learner_group,
                policies=list(self._groups),
                inference_only=True,
            )

    def get_state(self, components=None, *, not_components=None, **kwargs) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(_REWARDS, components, not_components):
            state[_REWARDS] = self.reward_standardizer.get_state()
        if self.config.store_buffer_in_checkpoints and self._check_component(
            _REPLAY, components, not_components
        ):
            state[_REPLAY] = self.replay.get_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if _REWARDS in state:
            self.reward_standardizer.set_state(state[_REWARDS])
        if _REPLAY in state:
            self.replay.set_state(state[_REPLAY])
