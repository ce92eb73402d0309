"""The settings that algorithms with the networks of `models.gru` share.

`RecurrentConfig.training()` explains the fields.
"""

from typing import ClassVar

from ray.rllib.algorithms.algorithm_config import NotProvided

from marlserve.policies.models.gru import NETWORKS
from marlserve.policies.training.off_policy_config import OffPolicyConfig


class RecurrentConfig(OffPolicyConfig):
    """Settings of an `OffPolicy` algorithm whose networks may have a memory."""

    MODEL_FIELDS: ClassVar[tuple[str, ...]] = (
        "network",
        "use_gru",
        "hidden_size",
        "embedding_size",
    )
    AT_LEAST: ClassVar[dict[str, int]] = OffPolicyConfig.AT_LEAST | {
        "hidden_size": 1,
        "embedding_size": 0,
    }

    def __init__(self, algo_class: type):
        super().__init__(algo_class=algo_class)
        self.network = "auto"
        self.use_gru = True
        self.hidden_size = 64
        self.embedding_size = 0
        self.sequence_length = 16
        self.replay_capacity = 5_000
        # RLlib's own settings, where these algorithms want other values.
        self.grad_clip = 10.0
        self.train_batch_size_per_learner = 32

    def training(
        self,
        *,
        network: str = NotProvided,
        use_gru: bool = NotProvided,
        hidden_size: int = NotProvided,
        embedding_size: int = NotProvided,
        **kwargs,
    ) -> "RecurrentConfig":
        """Set what concerns training; other arguments are those of `OffPolicyConfig.training`.

        Args:
            network: "auto", "flat" or "per_component"; see `models.gru`.
            use_gru: recurrent or feed-forward networks.
            hidden_size: width of the networks.
            embedding_size: numbers learned per component by a per-component network; 0 for none.
        """
        self._set(locals())
        return super().training(**kwargs)

    def validate(self) -> None:
        super().validate()
        self._check_choice("network", NETWORKS)

    def _check_choice(self, field: str, allowed: tuple[str, ...]) -> None:
        if getattr(self, field) not in allowed:
            self._value_error(f"{field} is {getattr(self, field)!r}; allowed are {allowed}")
