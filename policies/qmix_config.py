"""The settings of QMIX: fields, defaults, checks, and the modules that follow from them.

`QMIXConfig.training()` explains every field.
"""

from typing import ClassVar

from gymnasium.spaces import Discrete, MultiDiscrete
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES

from marlserve.policies.models.gru import component_sizes
from marlserve.policies.models.joint import JointModule
from marlserve.policies.models.mixing import MIXERS, MixerModule, ParameterFreeMixer
from marlserve.policies.models.q_agent import QAgentModule
from marlserve.policies.qmix_learner import QMIXLearner
from marlserve.policies.recurrent_config import RecurrentConfig
from marlserve.policies.sampling.runner import MIXER

ACTION_SPACES = (Discrete, MultiDiscrete)


class QMIXConfig(RecurrentConfig):
    """Settings of `QMIX`, with defaults that run; `training()` explains them."""

    ACTION_SPACES = ACTION_SPACES
    MODEL_FIELDS: ClassVar[tuple[str, ...]] = (
        *RecurrentConfig.MODEL_FIELDS,
        "burn_in",
        "mixer",
        "mixing_size",
        "hypernet_size",
        "double_q",
        "epsilon",
        "coherence",
    )
    AT_LEAST: ClassVar[dict[str, int]] = RecurrentConfig.AT_LEAST | {
        "mixing_size": 1,
        "hypernet_size": 1,
    }
    SHARES: ClassVar[dict[str, float]] = RecurrentConfig.SHARES | {"coherence": 0.0}

    def __init__(self, algo_class: type | None = None):
        if algo_class is None:
            from marlserve.policies.qmix import QMIX as algo_class  # which imports this module
        super().__init__(algo_class=algo_class)
        self.mixer = "qmix"
        self.mixing_size = 32
        self.hypernet_size = 64
        self.double_q = True
        self.epsilon = [[0, 1.0], [50_000, 0.05]]
        self.coherence = 0.0
        self.td_lambda = 0.6
        self.target_network_update_freq = 100
        self.tau = 1.0
        # RLlib's own settings, where QMIX wants other values.
        self.lr = 5e-4

    def training(
        self,
        *,
        mixer: str = NotProvided,
        mixing_size: int = NotProvided,
        hypernet_size: int = NotProvided,
        double_q: bool = NotProvided,
        epsilon: float | list = NotProvided,
        coherence: float = NotProvided,
        **kwargs,
    ) -> "QMIXConfig":
        """Set what concerns training; other arguments are those of `RecurrentConfig.training`.

        Args:
            mixer: "qmix", "vdn" or "none".
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
        self._check_choice("mixer", MIXERS)
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
            ValueError: see `PolicyConfig`.
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
