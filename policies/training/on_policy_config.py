"""The settings that on-policy algorithms share; `OnPolicyConfig.training()` explains them."""

from typing import ClassVar

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.schedules.scheduler import Scheduler

from marlserve.envs.checks import is_whole
from marlserve.policies.models.actor_critic import ACTION_SPACES, ActorCriticModule
from marlserve.policies.training.base import PolicyConfig

SCHEDULED = ("entropy_coeff", "teacher_coeff")  # numbers, or [[env_steps, value], ...]


class OnPolicyConfig(PolicyConfig):
    """Settings of `OnPolicy`, with defaults that run.

    An iteration samples `rollout_fragment_length` steps of every copy of the environment and
    learns from these alone. So `train_batch_size_per_learner` follows from the others, and is
    asked for only if the fragment length is "auto".
    """

    ACTION_SPACES = ACTION_SPACES
    MODEL_FIELDS: ClassVar[tuple[str, ...]] = (
        "network",
        "hidden_sizes",
        "hidden_size",
        "embedding_size",
    )
    # What `VectorEnvRunner` is told.
    sequence_columns = (Columns.ACTION_LOGP,)
    cut_rows = True

    def __init__(self, algo_class: type):
        super().__init__(algo_class=algo_class)
        self.network = "auto"
        self.hidden_sizes = [64, 64]
        self.hidden_size = 32
        self.embedding_size = 0
        self.lambda_ = 0.95
        self.entropy_coeff = 0.0
        self.teacher = ""
        self.teacher_coeff = 1.0
        self.multiplier_lr = 0.0
        self.vf_loss_coeff = 0.5
        self.normalize_advantages = True
        self.normalize_values = True
        self.standardize_rewards = False
        # RLlib's own settings, where on-policy algorithms want other values.
        self.gamma = 0.99
        self.grad_clip = 0.5

    def training(
        self,
        *,
        network: str = NotProvided,
        hidden_sizes: list[int] = NotProvided,
        hidden_size: int = NotProvided,
        embedding_size: int = NotProvided,
        lambda_: float = NotProvided,
        entropy_coeff: float | list = NotProvided,
        teacher: str = NotProvided,
        teacher_coeff: float | list = NotProvided,
        multiplier_lr: float = NotProvided,
        vf_loss_coeff: float = NotProvided,
        normalize_advantages: bool = NotProvided,
        normalize_values: bool = NotProvided,
        standardize_rewards: bool = NotProvided,
        **kwargs,
    ) -> "OnPolicyConfig":
        """Set what concerns training; other arguments are those of `AlgorithmConfig.training`.

        Args:
            network: of the actor and of the critic: "flat", "per_component", or "auto": per
                component where an observation [M, F] meets an action of M components.
            hidden_sizes: widths of the layers of flat networks.
            hidden_size: width of per-component networks.
            embedding_size: numbers learned per component by those; 0 for none.
            lambda_: of the generalised advantage estimate; 1 for returns to the end of the row.
            entropy_coeff: bonus for entropy, a number or [[env_steps, value], ...].
            teacher: one of the problem's baselines, whose actions the policy learns to take as
                well; "": none. See `sampling.teacher`.
            teacher_coeff: weight of the cross entropy of these, a number or [[env_steps, value],
                ...], which should end at 0.
            multiplier_lr: how fast the price of the problem's constraint follows what samples
                cost; 0: the constraint is not looked at. See `multiplier`.
            vf_loss_coeff: weight of the value loss.
            normalize_advantages: to mean 0 and deviation 1 over each iteration.
            normalize_values: the critic learns returns of mean 0 and deviation 1, whatever the
                rewards are; see `models.actor_critic.Critic`.
            standardize_rewards: learn from (reward - mean) / std over all that was sampled; see
                `rewards`.
        """
        self._set(locals())
        return super().training(**kwargs)

    def validate(self) -> None:
        super().validate()
        name = self.algo_class.__name__
        if self.batch_mode != "truncate_episodes" and not self.in_evaluation:
            self._value_error(
                f"batch_mode is {self.batch_mode!r}; {name} samples 'truncate_episodes'"
            )
        self._check_sizes("hidden_sizes")
        self._check_network()
        for name in ("num_epochs", "minibatch_size"):
            value = getattr(self, name)
            if not is_whole(value, 1) and (name, value) != ("minibatch_size", None):
                self._value_error(f"{name} is {value!r}; it must be a positive integer")
        for name in ("gamma", "lambda_"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                self._value_error(f"{name} is {getattr(self, name)}; it must be in [0, 1]")
        for name in ("vf_loss_coeff", "multiplier_lr"):
            if not getattr(self, name) >= 0:
                self._value_error(f"{name} is {getattr(self, name)}; it must be at least 0")
        for name in SCHEDULED:
            Scheduler.validate(
                fixed_value_or_schedule=getattr(self, name),
                setting_name=name,
                description="coefficient",
            )
        if self.teacher and self.observe_agent_index:
            self._value_error(
                f"teacher is {self.teacher!r}, which does not know the agents' index that "
                "observe_agent_index adds; leave one of them out"
            )
        if not self.in_evaluation:
            self._check_batch_size()

    def _check_batch_size(self) -> None:
        asked, fragment = self._train_batch_size_per_learner, self.rollout_fragment_length
        if fragment == "auto":
            if asked is None:
                self._value_error(
                    "rollout_fragment_length is 'auto', which train_batch_size_per_learner must "
                    "tell; it is None"
                )
        elif asked is not None:
            copies = self.num_envs_per_env_runner * max(1, self.num_env_runners)
            if asked * max(1, self.num_learners) != fragment * copies:
                self._value_error(
                    f"train_batch_size_per_learner is {asked}, but {copies} copies of "
                    f"rollout_fragment_length {fragment} give {fragment * copies} steps to "
                    f"{max(1, self.num_learners)} learner(s); leave it out, or set the fragment "
                    "length to 'auto'"
                )

    @property
    def needs_costs(self) -> bool:
        return self.multiplier_lr > 0

    @property
    def sequence_length(self) -> int:
        """Steps in a row: nothing but the end of an episode cuts a fragment."""
        return max(self.get_rollout_fragment_length(worker) for worker in (0, 1))

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=ActorCriticModule)
