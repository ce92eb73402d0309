"""The settings that all off-policy algorithms share: fields, defaults, checks.

`OffPolicyConfig.training()` explains the fields. An algorithm's own config says which spaces it
plays, adds its fields, and names its module and its learner.
"""

from typing import ClassVar

import gymnasium
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.schedules.scheduler import Scheduler

from marlserve.envs.checks import is_whole
from marlserve.policies.training.base import PolicyConfig


class OffPolicyConfig(PolicyConfig):
    """Settings of an `OffPolicy` algorithm, with defaults that run.

    Attributes:
        AT_LEAST: {name: its least value} of integers.
        SHARES: {name: its least value} of numbers that are at most 1.
    """

    AT_LEAST: ClassVar[dict[str, int]] = {
        "sequence_length": 1,
        "burn_in": 0,
        "replay_capacity": 1,
        "learning_starts": 0,
        "target_network_update_freq": 1,
    }
    SHARES: ClassVar[dict[str, float]] = {"td_lambda": 0.0, "tau": 1e-6, "gamma": 0.0}

    def __init__(self, algo_class: type):
        super().__init__(algo_class=algo_class)
        self.td_lambda = 0.0
        self.sequence_length = 1
        self.burn_in = 0
        self.replay_capacity = 100_000
        self.learning_starts = 1_000
        self.updates_per_step: int | str = "auto"
        self.target_network_update_freq = 1
        self.tau = 0.02
        self.standardize_rewards = False
        self.store_buffer_in_checkpoints = True
        # RLlib's own: its 200 would be many rows of every copy for one update.
        self.rollout_fragment_length: int | str = "auto"

    def training(
        self,
        *,
        td_lambda: float = NotProvided,
        sequence_length: int = NotProvided,
        burn_in: int = NotProvided,
        replay_capacity: int = NotProvided,
        learning_starts: int = NotProvided,
        updates_per_step: int | str = NotProvided,
        target_network_update_freq: int = NotProvided,
        tau: float = NotProvided,
        standardize_rewards: bool = NotProvided,
        store_buffer_in_checkpoints: bool = NotProvided,
        **kwargs,
    ) -> "OffPolicyConfig":
        """Set what concerns training; other arguments are those of `AlgorithmConfig.training`.

        Args:
            td_lambda: 0 for one-step targets, 1 for returns to the end of the row.
            sequence_length: steps in a row; longer episodes are cut, with the hidden state kept.
            burn_in: steps without loss at the start of rows that do not start an episode, for
                recurrent networks.
            replay_capacity: rows in the replay.
            learning_starts: environment steps before the first update.
            updates_per_step: gradient updates in each `training_step`, each on rows of its own;
                "auto": one for every `sequence_length` environment steps that are sampled, so that
                the number of copies and of env runners does not change what is learned from them.
            target_network_update_freq: updates between two updates of the target networks.
            tau: 1 to copy the networks into their targets, less to move them by that share.
            standardize_rewards: learn from (reward - mean) / std over all that was sampled.
            store_buffer_in_checkpoints: save the replay too.
        """
        self._set(locals())
        return super().training(**kwargs)

    def validate(self) -> None:
        super().validate()
        for field, low in self.AT_LEAST.items():
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                self._value_error(f"{field} is {value!r}; it must be an integer of at least {low}")
        if self.updates_per_step != "auto" and not is_whole(self.updates_per_step, 1):
            self._value_error(
                f"updates_per_step is {self.updates_per_step!r}; it must be 'auto', or an integer "
                "of at least 1"
            )
        for field, least in self.SHARES.items():
            if not least <= getattr(self, field) <= 1.0:
                self._value_error(f"{field} is {getattr(self, field)}; it must be in [{least}, 1]")
        if self.burn_in >= self.sequence_length:
            self._value_error(
                f"burn_in is {self.burn_in}; it must be less than sequence_length "
                f"({self.sequence_length}), or nothing is learned"
            )

    def get_rollout_fragment_length(self, worker_index: int = 0) -> int:
        """Steps per copy and sample; "auto" is the length of a row."""
        if isinstance(self.rollout_fragment_length, int):
            return self.rollout_fragment_length
        return self.sequence_length

    def get_updates_per_step(self) -> int:
        """Gradient updates in each `training_step`; "auto" is one for each row's worth of steps."""
        if isinstance(self.updates_per_step, int):
            return self.updates_per_step
        copies = self.num_envs_per_env_runner * max(1, self.num_env_runners)
        return max(1, copies * self.get_rollout_fragment_length() // self.sequence_length)

    def _check_spaces(
        self, module_id: str, observations: gymnasium.Space, actions: gymnasium.Space
    ) -> None:
        super()._check_spaces(module_id, observations, actions)
        if isinstance(actions, gymnasium.spaces.Box) and not (
            actions.is_bounded() and self.normalize_actions
        ):
            raise ValueError(
                f"{self.algo_class.__name__} plays bounded Box spaces, with normalize_actions; the "
                f"action space of policy {module_id!r} is {actions}, and normalize_actions is "
                f"{self.normalize_actions}"
            )

    def _check_schedule(self, field: str) -> None:
        """The setting is a share, or a schedule of shares, [[env_steps, value], ...]."""
        value = getattr(self, field)
        levels = [value]
        if isinstance(value, list | tuple):
            Scheduler.validate(
                fixed_value_or_schedule=value, setting_name=field, description="exploration"
            )
            levels = [level for _, level in value]
        if not all(0.0 <= level <= 1.0 for level in levels):
            self._value_error(f"{field} is {value}; its values must be in [0, 1]")
