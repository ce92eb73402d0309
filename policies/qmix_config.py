"""The settings of QMIX: fields, defaults, checks, and the modules that follow from them.

`QMIXConfig.training()` explains every field.
"""

from typing import Any

import gymnasium
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES
from ray.rllib.utils.schedules.scheduler import Scheduler

from marlserve.policies.models.gru import NETWORKS, component_sizes
from marlserve.policies.models.joint import JointModule
from marlserve.policies.models.mixing import MIXERS, MixerModule, ParameterFreeMixer
from marlserve.policies.models.q_agent import QAgentModule
from marlserve.policies.qmix_learner import QMIXLearner
from marlserve.policies.sampling.runner import MIXER, VectorEnvRunner

_MODEL_FIELDS = (
    "mixer",
    "network",
    "use_gru",
    "hidden_size",
    "embedding_size",
    "mixing_size",
    "hypernet_size",
    "double_q",
    "epsilon",
    "coherence",
)
_AT_LEAST = {
    "hidden_size": 1,
    "embedding_size": 0,
    "mixing_size": 1,
    "hypernet_size": 1,
    "sequence_length": 1,
    "burn_in": 0,
    "replay_capacity": 1,
    "learning_starts": 0,
    "updates_per_step": 1,
    "target_network_update_freq": 1,
}


class QMIXConfig(AlgorithmConfig):
    """Settings of `QMIX`, with defaults that run; `training()` explains them."""

    def __init__(self, algo_class: type | None = None):
        if algo_class is None:
            from marlserve.policies.qmix import QMIX as algo_class  # which imports this module
        super().__init__(algo_class=algo_class)
        self.mixer = "qmix"
        self.network = "auto"
        self.use_gru = True
        self.hidden_size = 64
        self.embedding_size = 0
        self.mixing_size = 32
        self.hypernet_size = 64
        self.double_q = True
        self.epsilon = [[0, 1.0], [50_000, 0.05]]
        self.coherence = 0.0
        self.td_lambda = 0.6
        self.sequence_length = 16
        self.burn_in = 0
        self.replay_capacity = 5_000
        self.learning_starts = 1_000
        self.updates_per_step = 1
        self.target_network_update_freq = 100
        self.tau = 1.0
        self.standardize_rewards = False
        self.store_buffer_in_checkpoints = True
        # RLlib's own settings, where QMIX wants other values.
        self.lr = 5e-4
        self.grad_clip = 10.0
        self.train_batch_size_per_learner = 32
        self.env_runner_cls = VectorEnvRunner
        self.num_env_runners = 0
        self.batch_mode = "truncate_episodes"
        self.evaluation_config = AlgorithmConfig.overrides(explore=False)

    def training(
        self,
        *,
        mixer: str = NotProvided,
        network: str = NotProvided,
        use_gru: bool = NotProvided,
        hidden_size: int = NotProvided,
        embedding_size: int = NotProvided,
        mixing_size: int = NotProvided,
        hypernet_size: int = NotProvided,
        double_q: bool = NotProvided,
        epsilon: float | list = NotProvided,
        coherence: float = NotProvided,
        td_lambda: float = NotProvided,
        sequence_length: int = NotProvided,
        burn_in: int = NotProvided,
        replay_capacity: int = NotProvided,
        learning_starts: int = NotProvided,
        updates_per_step: int = NotProvided,
        target_network_update_freq: int = NotProvided,
        tau: float = NotProvided,
        standardize_rewards: bool = NotProvided,
        store_buffer_in_checkpoints: bool = NotProvided,
        **kwargs,
    ) -> "QMIXConfig":
        """Set what concerns training; other arguments are those of `AlgorithmConfig.training`.

        Args:
            mixer: "qmix", "vdn" or "none".
            network: "auto", "flat" or "per_component"; see `models.gru`.
            use_gru: recurrent or feed-forward Q-networks.
            hidden_size: width of the Q-networks.
            embedding_size: numbers learned per component by a per-component network; 0 for none.
            mixing_size: width of the mixed layer.
            hypernet_size: width of the networks that make the mixer's weights.
            double_q: the online network chooses the next action, the target network values it.
            epsilon: share of random choices, a number or [[env_steps, value], ...].
            coherence: part of epsilon with which all components explore together, for actions of
                many components; see `models.q_agent`.
            td_lambda: 0 for one-step targets, 1 for returns to the end of the row.
            sequence_length: steps in a row; longer episodes are cut, with the hidden state kept.
            burn_in: steps without loss at the start of rows that do not start an episode.
            replay_capacity: rows in the replay.
            learning_starts: environment steps before the first update.
            updates_per_step: gradient updates in each `training_step`.
            target_network_update_freq: updates between two updates of the target networks.
            tau: 1 to copy the networks into their targets, less to move them by that share.
            standardize_rewards: learn from (reward - mean) / std over all that was sampled.
            store_buffer_in_checkpoints: save the replay too.
        """
        given = {name: value for name, value in locals().items() if value is not NotProvided}
        for name in given.keys() - {"self", "kwargs", "__class__"}:
            setattr(self, name, given[name])
        return super().training(**kwargs)

    def validate(self) -> None:
        super().validate()
        if not self.is_multi_agent:
            self._value_error("QMIX needs .multi_agent(policies=..., policy_mapping_fn=...)")
        for name, allowed in (("mixer", MIXERS), ("network", NETWORKS)):
            if getattr(self, name) not in allowed:
                self._value_error(f"{name} is {getattr(self, name)!r}; allowed are {allowed}")
        for name, low in _AT_LEAST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                self._value_error(f"{name} is {value!r}; it must be an integer of at least {low}")
        for name, low in (("td_lambda", 0.0), ("tau", 1e-6), ("gamma", 0.0), ("coherence", 0.0)):
            if not low <= getattr(self, name) <= 1.0:
                self._value_error(f"{name} is {getattr(self, name)}; it must be in [{low}, 1]")
        if self.burn_in >= self.sequence_length:
            self._value_error(
                f"burn_in is {self.burn_in}; it must be less than sequence_length "
                f"({self.sequence_length}), or nothing is learned"
            )
        levels = [self.epsilon]
        if isinstance(self.epsilon, list | tuple):
            Scheduler.validate(
                fixed_value_or_schedule=self.epsilon,
                setting_name="epsilon",
                description="exploration",
            )
            levels = [level for _, level in self.epsilon]
        if not all(0.0 <= level <= 1.0 for level in levels):
            self._value_error(f"epsilon is {self.epsilon}; its values must be in [0, 1]")
        if self.policies_to_train is not None:
            self._value_error("QMIX trains all policies jointly: policies_to_train must be None")

    def get_rollout_fragment_length(self, worker_index: int = 0) -> int:
        """Steps per copy and sample; "auto" is the length of a row."""
        if self.rollout_fragment_length == "auto":
            return self.sequence_length
        return self.rollout_fragment_length

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in _MODEL_FIELDS}
        return super()._model_config_auto_includes | own

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=QAgentModule)

    def get_default_learner_class(self) -> type:
        return QMIXLearner

    def get_multi_rl_module_spec(
        self, *, env=None, spaces=None, inference_only: bool = False, **kwargs
    ) -> MultiRLModuleSpec:
        """The policies' modules and, on learners, the mixer.

        Raises:
            ValueError: if a policy plays for no agent.
        """
        idle = set(self.policies) - set(self.policies if spaces is None else spaces)
        if idle:
            raise ValueError(f"policies {sorted(idle)} play for no agent; every one must have one")
        specs = (
            super()
            .get_multi_rl_module_spec(
                env=env, spaces=spaces, inference_only=inference_only, **kwargs
            )
            .rl_module_specs
        )
        if not inference_only:
            actions = list(spaces[INPUT_ENV_SINGLE_SPACES][1].spaces.values())
            num_values = sum(len(component_sizes(space)) for space in actions)
            specs[MIXER] = RLModuleSpec(
                module_class=MixerModule if self.mixer == "qmix" else ParameterFreeMixer,
                observation_space=spaces[MIXER][0],
                action_space=gymnasium.spaces.Discrete(1),  # it has none, but RLlib asks
                model_config=self.model_config | {"num_values": num_values},
                learner_only=True,
            )
        return MultiRLModuleSpec(
            multi_rl_module_class=JointModule,
            rl_module_specs=specs,
            inference_only=inference_only,
        )
