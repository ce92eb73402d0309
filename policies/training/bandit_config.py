"""The settings that all contextual bandits share: fields, defaults, checks.

`BanditConfig.training()` explains them; a bandit's own config adds its fields, and its module.
"""

import math
from typing import ClassVar

import gymnasium
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.algorithm_config import NotProvided

from marlserve.policies.models.bandit import context_shape
from marlserve.policies.training.bandit_learner import BanditLearner
from marlserve.policies.training.off_policy_config import OffPolicyConfig


class BanditConfig(OffPolicyConfig):
    """Settings of a `Bandit`, with defaults that run."""

    ACTION_SPACES = (Discrete,)
    MODEL_FIELDS: ClassVar[tuple[str, ...]] = (
        "hidden_sizes",
        "ucb_beta",
        "ridge",
        "uncertainty_coef",
        "standardize_contexts",
    )
    AT_LEAST: ClassVar[dict[str, int]] = OffPolicyConfig.AT_LEAST | {
        "episodes_per_update": 1,
        "rebuild_every": 1,
    }

    def __init__(self, algo_class: type):
        super().__init__(algo_class=algo_class)
        self.hidden_sizes = [64, 64]
        self.ucb_beta = 1.0
        self.ridge = 1.0
        self.uncertainty_coef = 0.0
        self.weight_decay = 1.0
        self.episodes_per_update = 32
        self.rebuild_every = 1
        self.seeds_by_steps = False
        self.updates_per_step = 32
        self.standardize_rewards = True
        self.standardize_contexts = True
        self.learning_starts = 0
        # RLlib's own settings, where bandits want other values.
        self.lr = 4e-3
        self.train_batch_size_per_learner = 64
        self.num_envs_per_env_runner = 32
        self.rollout_fragment_length = "auto"
        self.torch_ddp_kwargs = {"broadcast_buffers": False}  # all learners count the same rounds

    def training(
        self,
        *,
        hidden_sizes: list[int] = NotProvided,
        ucb_beta: float = NotProvided,
        ridge: float = NotProvided,
        uncertainty_coef: float = NotProvided,
        weight_decay: float = NotProvided,
        episodes_per_update: int = NotProvided,
        rebuild_every: int = NotProvided,
        standardize_contexts: bool = NotProvided,
        seeds_by_steps: bool = NotProvided,
        **kwargs,
    ) -> "BanditConfig":
        """Set what concerns training; other arguments are those of `OffPolicyConfig.training`.

        Those of targets have no effect, as there are none: gamma, td_lambda, tau and
        target_network_update_freq. A is rebuilt from what is in the replay: of more rounds than
        its capacity, the oldest are forgotten, and in a checkpoint without it, all are.

        Args:
            hidden_sizes: widths of a network's layers.
            ucb_beta: standard deviations of uncertainty that are added to the mean to explore.
                Rewards are standardised, so it need not follow their scale.
            ridge: what the diagonal of A begins with: the less, the more uncertain is what was
                never tried; see the bandit's module.
            uncertainty_coef: weight, in the loss, of the variance of what was done. It keeps the
                features near those that were seen.
            weight_decay: as in AdamW, times the learning rate.
            episodes_per_update: rounds in each `training_step`, of all env runners together:
                copies x steps per sample x env runners. With `rollout_fragment_length` "auto",
                the number of steps follows from it. Where they are more than 100, the window of
                RLlib's metrics becomes as wide, so that no round is left out.
            rebuild_every: `training_step`s between two rebuilds of A from all of the replay, as the
                features move; in between, new rows are added. One takes 0.2 s per 100,000 rows,
                with 25 arms and the default network.
            standardize_contexts: every number of a context less its mean so far, in units of its
                deviation so far.
            seeds_by_steps: every sample begins new episodes, whose seeds follow from the number of
                steps before, so that a restored training takes the course of an unbroken one. For
                one-step episodes; longer ones would be cut.
        """
        self._set(locals())
        if episodes_per_update is not NotProvided:  # RLlib's window of 100 would leave some out
            self.metrics_num_episodes_for_smoothing = max(100, episodes_per_update)
        return super().training(**kwargs)

    def validate(self) -> None:
        super().validate()
        self._check_sizes("hidden_sizes")
        for name in ("ucb_beta", "uncertainty_coef", "weight_decay"):
            self._check_number(name, getattr(self, name) >= 0, "at least 0")
        self._check_number("ridge", self.ridge > 0, "more than 0")
        if self.sequence_length != 1:
            self._value_error(
                f"sequence_length is {self.sequence_length}; it must be 1: a row is a round"
            )
        if not self.in_evaluation:
            self._check_rounds()

    def _check_number(self, name: str, good: bool, allowed: str) -> None:
        value = getattr(self, name)
        if not (good and math.isfinite(value)):
            self._value_error(f"{name} is {value}; it must be {allowed}, and finite")

    def _check_rounds(self) -> None:
        """All env runners' rounds in a sample are those of an update."""
        steps, copies = self.rollout_fragment_length, self.num_envs_per_env_runner
        at_once = copies * max(1, self.num_env_runners)
        if isinstance(steps, int):
            if self.episodes_per_update != steps * at_once:
                self._value_error(
                    f"episodes_per_update is {self.episodes_per_update}; rollout_fragment_length "
                    f"{steps!r} makes it {steps * at_once}, or may be 'auto'"
                )
        elif self.episodes_per_update % at_once:
            self._value_error(
                f"episodes_per_update is {self.episodes_per_update}; it must be a multiple of "
                f"{at_once}, num_envs_per_env_runner ({copies}) times the env runners"
            )

    def get_rollout_fragment_length(self, worker_index: int = 0) -> int:
        """Steps per copy and sample; "auto" makes them `episodes_per_update` in all."""
        if isinstance(self.rollout_fragment_length, int):
            return self.rollout_fragment_length
        at_once = self.num_envs_per_env_runner * max(1, self.num_env_runners)
        return max(1, self.episodes_per_update // at_once)

    def get_default_learner_class(self) -> type:
        return BanditLearner

    def _check_spaces(
        self, module_id: str, observations: gymnasium.Space, actions: gymnasium.Space
    ) -> None:
        super()._check_spaces(module_id, observations, actions)
        assert isinstance(observations, Box)  # as was checked above
        assert isinstance(actions, Discrete)
        context_shape(observations, int(actions.n))
