"""QMIX: agents that act on their own observations and learn together from the team's reward.

Each policy is a Q-network, recurrent by default, with one head per action component. A mixer
makes one value of all heads' values, and the loss is on that. `mixer` chooses the algorithm:

- "qmix": a monotonic network whose weights depend on the global state (Rashid et al. 2018)
- "vdn": the sum (Sunehag et al. 2018)
- "none": independent learners, each from its own reward

Actions: Discrete and MultiDiscrete. Observations: Box. Agents share policies, or not, by
`policy_mapping_fn(agent, episode)`, which must be a fixed mapping; those that share one have the
same spaces, and with `observe_agent_index=True` they see which of them they are.

    from marlserve import policies
    algo = policies.config("qmix", problem="load_balance", mixer="vdn").build_algo()
    algo.train()["env_runners"]["episode_return_mean"]

`train_batch_size_per_learner` counts rows of at most `sequence_length` steps. By default there is
one update of 32 rows for every 16 env-steps, however many copies of the environment sample them.
"""

from typing import ClassVar

from gymnasium.spaces import Discrete, MultiDiscrete
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES
from ray.rllib.policy.sample_batch import MultiAgentBatch

from marlserve.policies.models.gru import component_sizes
from marlserve.policies.models.joint import JointModule
from marlserve.policies.models.mixing import MIXERS, MixerModule, ParameterFreeMixer
from marlserve.policies.models.q_agent import QAgentModule
from marlserve.policies.sampling.runner import MIXER
from marlserve.policies.sampling.sequences import Sequences
from marlserve.policies.training.off_policy import OffPolicy
from marlserve.policies.training.qmix_learner import QMIXLearner, learner_batch
from marlserve.policies.training.recurrent_config import RecurrentConfig

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
        super().__init__(algo_class=algo_class or QMIX)
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

    @property
    def needs_state(self) -> bool:
        return self.mixer == "qmix"

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


def config(**training) -> QMIXConfig:
    """A ready `QMIXConfig`, one policy for all agents; it lacks the environment.

    Args:
        training: arguments of `QMIXConfig.training`, such as `mixer="vdn"`.
    """
    return QMIXConfig().of_one_policy().env_runners(num_envs_per_env_runner=32).training(**training)


class QMIX(OffPolicy):
    """Learns from the rows of all agents together, and from the global state."""

    @classmethod
    def get_default_config(cls) -> QMIXConfig:
        return QMIXConfig()

    def learner_batch(self, sequences: Sequences) -> MultiAgentBatch:
        return learner_batch(sequences, self.groups, self.own_spaces)
