"""The settings that algorithms share which earn entropy, at a temperature that is learned.

`EntropyConfig.training()` explains the fields.
"""

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.schedules.scheduler import Scheduler

from marlserve.policies.training.off_policy_config import OffPolicyConfig


class EntropyConfig(OffPolicyConfig):
    """Settings of an `OffPolicy` algorithm that learns by `SACLearner`."""

    def __init__(self, algo_class: type):
        super().__init__(algo_class=algo_class)
        self.initial_alpha = 1.0
        self.target_entropy = "auto"
        self.alpha_lr = None

    def training(
        self,
        *,
        initial_alpha: float = NotProvided,
        target_entropy: float | str = NotProvided,
        alpha_lr: float | list | None = NotProvided,
        **kwargs,
    ) -> "EntropyConfig":
        """Set what concerns training; other arguments are those of the next config in line.

        Args:
            initial_alpha: temperature at first: what one nat of entropy earns.
            target_entropy: mean entropy of the policy that alpha is moved for, in nats; "auto" is
                minus the number of dimensions for Box, and otherwise 0.3 of the highest entropy
                that the legal actions allow, which is log |A| if all of a Discrete space are.
            alpha_lr: learning rate of log alpha, a number or [[env_steps, value], ...]; None: lr.
                An update moves log alpha by about that much, so that a training of few updates
                needs more than networks bear, if alpha shall come to where it belongs.
        """
        self._set(locals())
        return super().training(**kwargs)

    def validate(self) -> None:
        super().validate()
        if not self.initial_alpha > 0:
            self._value_error(f"initial_alpha is {self.initial_alpha}; it must be positive")
        if self.alpha_lr is not None:
            Scheduler.validate(
                fixed_value_or_schedule=self.alpha_lr,
                setting_name="alpha_lr",
                description="learning rate",
            )
            scheduled = isinstance(self.alpha_lr, list | tuple)
            rates = [rate for _, rate in self.alpha_lr] if scheduled else [self.alpha_lr]
            if any(isinstance(rate, bool) or not rate > 0 for rate in rates):
                self._value_error(f"alpha_lr is {self.alpha_lr}; learning rates must be positive")
        if self.target_entropy != "auto" and not isinstance(self.target_entropy, int | float):
            self._value_error(
                f"target_entropy is {self.target_entropy!r}; it must be a number, or 'auto'"
            )
