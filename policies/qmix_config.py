"""The settings of QMIX: fields, defaults, checks, and the modules that follow from them.

`QMIXConfig.training()` explains every field.
"""

from typing import ClassVar

from gymnasium.spaces import Discrete, MultiDiscrete
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES

from marlserve.policies.models.gru import NETWORKS, component_sizes
from marlserve.policies.models.joint import JointModule
from marlserve.policies.models.mixing import MIXERS, MixerModule, ParameterFreeMixer
from marlserve.policies.models.q_agent import QAgentModule
from marlserve.policies.off_policy_config import OffPolicyConfig
from marlserve.policies.qmix_learner import QMIXLearner
from marlserve.policies.sampling.runner import MIXER

ACTION_SPACES = (Discrete, MultiDiscrete)


class QMIXConfig(OffPolicyConfig):
    """Settings of `QMIX`, with defaults that run; `training()` explains them."""

    ACTION_SPACES = ACTION_SPACES
    MODEL_FIELDS: ClassVar[tuple[str, ...]] = (
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
    AT_LEAST: ClassVar[dict[str, int]] = OffPolicyConfig.AT_LEAST | {
        "hidden_size": 1,
        "embedding_size": 0,
        "mixing_size": 1,
        "hypernet_size": 1,
    }
    SHARES: ClassVar[dict[str, float]] = OffPolicyConfig.SHARES | {"coherence": 0.0}

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
        self.replay_capacity = 5_000
        self.target_network_update_freq = 100
        self.tau = 1.0
        # RLlib's own settings, where QMIX wants other values.
        self.lr = 5e-4
        self.grad_clip = 10.0
        self.train_batch_size_per_learner = 32

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
        **kwargs,
    ) -> "QMIXConfig":
        """Set what concerns training; other arguments are those of `OffPolicyConfig.training`.

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
        """
        self._set(locals())
        return super().training(**kwargs)

    def validate(self) -> None:
        super().validate()
        for name, allowed in (("mixer", MIXERS), ("network", NETWORKS)):
            if getattr(self, name) not in allowed:
                self._value_error(f"{name} is {getattr(self, name)!r}; allowed are {allowed}")
        self._check_schedule("epsilon")
        if self.policies_to_train is not None:
            self._value_error("QMIX trains all policies jointly: policies_to_train must be None")

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=QAgentModule)

    def get_default_learner_class(self) -> type:
        return QMIXLearner

    def get_multi_rl_module_spec(
        self, *, env=None, spaces=None, inference_only: bool = False, **kwargs
    ) -> MultiRLModuleSpec:
        """The policies' modules and, on learners, the mixer.

        Raises:
            ValueError: see `OffPolicyConfig`.
        """
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
                action_space=Discrete(1),  # it has none, but RLlib asks
                model_config=self.model_config | {"num_values": num_values},
                learner_only=True,
            )
        return MultiRLModuleSpec(
            multi_rl_module_class=JointModule,
            rl_module_specs=specs,
            inference_only=inference_only,
        )
