"""A runner whose module plays for all agents of a contract, each by its policy: what runners of
several agents share, whoever's algorithm learns."""

from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from marlserve.policies.export.network import PolicyFile
from marlserve.policies.export.noise import Noise
from marlserve.serving.trainer.runners.env_runner import ExternalEnvRunner
from marlserve.serving.trainer.runners.joint import Joint
from marlserve.serving.trainer.runners.team_counts import log
from marlserve.serving.wire.steps import Steps


class JointRunner(ExternalEnvRunner):
    """See the module. Subclasses say what it samples, and how many actions are random."""

    def __init__(self, *, config: AlgorithmConfig, **kwargs: Any):
        super().__init__(config=config, **kwargs)
        self.joint = Joint(self.config, self.contract.seats, self.contract.state_size)
        self.module = self.joint.module()

    def note_steps(self, fragments: list[Steps]) -> None:
        """Tell RLlib's metrics of them, and count them."""
        steps = log(self.metrics, self.joint, fragments)
        self.num_env_steps_sampled_lifetime += steps * max(1, self.config.num_env_runners)

    def policies(self, training: dict[str, Any]) -> tuple[PolicyFile, dict[str, Noise]]:
        return self.joint.policies(self.module, training)

    def set_weights_of(self, weights: Mapping[str, Any]) -> None:
        self.module.set_state(weights)

    def get_spaces(self) -> dict[str, Any]:
        return self.joint.spaces()
