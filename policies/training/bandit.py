"""Contextual bandits: they try what they expect most of, or know least about.

    score of an arm = mean + ucb_beta * uncertainty        to explore; the mean alone in evaluation

`NeuralLinear` and `NeuralUCB` differ in their modules, which say what mean and uncertainty are.

Actions: Discrete. Observations: Box, [d] for a context that all K arms share, or [K, d] for one
per arm. They learn from immediate rewards alone: every step is a round, also in longer episodes.
Contexts and rewards are standardised, so ucb_beta counts standard deviations of the reward.

Each `training_step` plays `episodes_per_update` rounds, improves the network on random rows of the
replay, and then makes the covariances anew from all of the replay, by the features that the
network has now. All env runners have network and covariances before they play on. Rounds that are
played side by side know of each other's choices within an env runner and step only: as many
copies as rounds per update are the best.
"""

from typing import Any

import ray
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    REPLAY_BUFFER_ADD_DATA_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from marlserve.policies.sampling.sequences import Sequences
from marlserve.policies.training.bandit_config import BanditConfig
from marlserve.policies.training.bandit_learner import BanditLearner, rounds_by_policy
from marlserve.policies.training.off_policy import OffPolicy

_SINCE_REBUILD = "training_steps_since_rebuild"
_ROWS_AT_ONCE = 4096  # whose features are in memory together


class Bandit(OffPolicy):
    """Plays by upper confidence bounds, learns what the arms earn."""

    def setup(self, config: BanditConfig) -> None:
        super().setup(config)
        self._since_rebuild = 0

    def training_step(self) -> None:
        metrics = self.metrics
        samples = self.sampled()
        if not samples:  # no env runner is left; RLlib restarts them
            return
        new = Sequences.concatenate(samples)
        with metrics.log_time((TIMERS, REPLAY_BUFFER_ADD_DATA_TIMER)):
            self.reward_standardizer.observe(new)
            self.replay.add(new)
        with metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            if self.config.standardize_contexts:
                self._ask_learners("observe", new)
            self._improve_network()
            self._absorb(new)
        with metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.sync_env_runners(self.env_runner_group)

    def _improve_network(self) -> None:
        config, metrics = self.config, self.metrics
        steps = metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        if steps < config.learning_starts:
            return
        rows = config.total_train_batch_size * config.get_updates_per_step()
        sequences = self.replay.sample(rows)
        if config.standardize_rewards:
            sequences = self.reward_standardizer.apply(sequences)
        results = self.learner_group.update(
            batch=self.learner_batch(sequences), timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: steps}
        )
        metrics.aggregate(results, key=LEARNER_RESULTS)

    def _absorb(self, new: Sequences) -> None:
        """Let the learners' confidence take the new rows into account, or all rows anew."""
        self._since_rebuild += 1
        rebuild = self._since_rebuild >= self.config.rebuild_every
        if rebuild:
            self._since_rebuild = 0
        rows = self.replay.everything() if rebuild else new
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows.rows(slice(first, first + _ROWS_AT_ONCE))
            self._ask_learners("absorb", some, rebuild and first == 0)
        mean, deviation = 0.0, 1.0
        if self.config.standardize_rewards:
            mean, deviation = self.reward_standardizer.moments()
        results = self._ask_learners("conclude", new, mean, deviation)
        self.metrics.log_dict(results[0], key=LEARNER_RESULTS, window=1)  # all come to the same

    def _ask_learners(self, method: str, sequences: Sequences, *arguments) -> list:
        """What this method returns in each learner, given all of the rows."""
        rounds = rounds_by_policy(sequences, self.groups)
        if self.learner_group.is_remote:
            rounds = ray.put(rounds)  # once for all of them

        def ask(learner: BanditLearner):
            given = ray.get(rounds) if isinstance(rounds, ray.ObjectRef) else rounds
            return getattr(learner, method)(given, *arguments)

        answers = []
        for result in self.learner_group.foreach_learner(ask):
            if not result.ok:
                raise result.get()
            answers.append(result.get())
        return answers

    def get_state(self, components=None, *, not_components=None, **kwargs) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(_SINCE_REBUILD, components, not_components):
            state[_SINCE_REBUILD] = self._since_rebuild
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._since_rebuild = state.get(_SINCE_REBUILD, self._since_rebuild)
