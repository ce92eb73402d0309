"""What the algorithms here share: settings, sampling, and a restore that reaches all env runners.

RLlib (2.60) sends restored weights to remote env runners without waiting, and drops the message
if another is under way; the runners then sample with their random first weights. A runner also
ignores weights that are older than what it has, as when an earlier checkpoint is restored into a
running algorithm.
"""

from collections.abc import Callable, Iterable
from inspect import Parameter, signature
from typing import Any, ClassVar

import gymnasium
import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    TIMERS,
    WEIGHTS_SEQ_NO,
)

from marlserve.envs.checks import is_whole
from marlserve.policies import session
from marlserve.policies.models.gru import NETWORKS
from marlserve.policies.sampling.acting import configured_groups
from marlserve.policies.sampling.agent_index import INDEXED_AGENTS
from marlserve.policies.sampling.named_env import environment_of
from marlserve.policies.sampling.own_spaces import OwnSpaces, own_spaces
from marlserve.policies.sampling.runner import VectorEnvRunner
from marlserve.policies.sampling.sequences import Sequences
from marlserve.policies.training.rewards import RewardStandardizer

_REWARDS = "reward_standardizer"


def shared_policy(agent_id: str, episode=None, **kwargs) -> str:
    """A `policy_mapping_fn`: one policy, "shared", for all agents."""
    return "shared"


class PolicyConfig(AlgorithmConfig):
    """An `AlgorithmConfig` for the vectorised runner, and for policies that each have an agent.

    Attributes:
        ACTION_SPACES: the spaces that the algorithm plays.
        MODEL_FIELDS: names of settings that the modules are given.
        needs_state: the rows have the global state, for `VectorEnvRunner`.
    """

    ACTION_SPACES: ClassVar[tuple[type, ...]]
    MODEL_FIELDS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, algo_class: type):
        super().__init__(algo_class=algo_class)
        self.env_runner_cls = VectorEnvRunner
        self.num_env_runners = 0
        self.batch_mode = "truncate_episodes"
        self.log_level = "ERROR"  # RLlib sets its loggers to this, whatever `session` did
        self.log_sys_usage = False  # by a thread, for which each stop() would wait half a second
        self.add_default_connectors_to_learner_pipeline = False  # which learners here do not run
        self.observe_agent_index = False
        self.evaluation_config = AlgorithmConfig.overrides(explore=False)

    @property
    def needs_state(self) -> bool:
        return False

    def environment(
        self,
        env: str | type | Callable | None = NotProvided,
        *,
        env_config: dict[str, Any] = NotProvided,
        **kwargs,
    ) -> "PolicyConfig":
        """Set the environment; other arguments are those of `AlgorithmConfig.environment`.

        Args:
            env: a name as `sampling.named_env` knows them, e.g. "load_balance" or "CartPole-v1";
                or a class or function of the env_config that gives a PettingZoo `ParallelEnv`, an
                RLlib wrapper around one, or a Gymnasium `Env`. The env_config of another
                environment, set before, is forgotten.
            env_config: for a name, what `named_env.environment_of` says; else the argument of
                the class or function.

        Raises:
            ValueError: for an unknown name or an unknown field of our problem.
        """
        given: dict[str, Any] = {} if env_config in (NotProvided, None) else env_config
        if isinstance(env, str):
            env, given = environment_of(env, given)
        if env is not NotProvided and self.env not in (None, env):
            self.env_config: dict[str, Any] = {}
        return super().environment(env, env_config=given, **kwargs)

    def training(self, *, observe_agent_index: bool = NotProvided, **kwargs) -> "PolicyConfig":
        """Set what concerns training; other arguments are those of `AlgorithmConfig.training`.

        Args:
            observe_agent_index: agents see which of them they are, for policies that several of
                them share and for flat observations; see `sampling.agent_index`.

        Raises:
            ValueError: for a setting that the algorithm does not have.
        """
        known = self.settings()
        if unknown := sorted(set(kwargs) - set(known)):
            name = self.algo_class.__name__
            raise ValueError(f"{name} has no setting {unknown}; it has {known}")
        if observe_agent_index is not NotProvided:
            self.observe_agent_index = observe_agent_index
        return super().training(**kwargs)

    @classmethod
    def settings(cls) -> list[str]:
        """The arguments of `training()`, RLlib's included."""
        methods = [vars(base)["training"] for base in cls.__mro__ if "training" in vars(base)]
        parameters = [x for method in methods for x in signature(method).parameters.values()]
        return sorted({x.name for x in parameters if x.kind is Parameter.KEYWORD_ONLY})

    def of_one_policy(self) -> "PolicyConfig":
        """The same config, with one policy, "shared", for all agents."""
        return self.multi_agent(policies={"shared"}, policy_mapping_fn=shared_policy)

    def validate(self) -> None:
        super().validate()
        if not self.is_multi_agent:
            name = self.algo_class.__name__
            self._value_error(f"{name} needs .multi_agent(policies=..., policy_mapping_fn=...)")
        if not isinstance(self.observe_agent_index, bool):
            self._value_error(
                f"observe_agent_index is {self.observe_agent_index!r}; it must be True or False"
            )

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in self.MODEL_FIELDS}
        return super()._model_config_auto_includes | own

    def get_multi_rl_module_spec(self, *, spaces=None, **kwargs) -> MultiRLModuleSpec:
        """The policies' modules.

        Raises:
            ValueError: if a policy plays for no agent, or in a space that the algorithm cannot.
        """
        if spaces is not None:
            idle = set(self.policies) - set(spaces)
            if idle:
                raise ValueError(
                    f"policies {sorted(idle)} play for no agent; every one must have one"
                )
            for module_id in self.policies:
                self._check_spaces(module_id, *spaces[module_id])
        result = super().get_multi_rl_module_spec(spaces=spaces, **kwargs)
        if self.observe_agent_index and spaces is not None:  # who plays a checkpoint must know them
            agents = list(spaces[INPUT_ENV_SINGLE_SPACES][0].spaces)
            for spec in result.rl_module_specs.values():
                spec.model_config = {**spec.model_config, INDEXED_AGENTS: agents}
        return result

    def _check_spaces(
        self, module_id: str, observations: gymnasium.Space, actions: gymnasium.Space
    ) -> None:
        name = self.algo_class.__name__
        if not isinstance(observations, gymnasium.spaces.Box):
            raise ValueError(
                f"{name} observes Box; the observation space of policy {module_id!r} is "
                f"{observations}"
            )
        if not isinstance(actions, self.ACTION_SPACES):
            allowed = " and ".join(cls.__name__ for cls in self.ACTION_SPACES)
            raise ValueError(
                f"{name} plays {allowed}; the action space of policy {module_id!r} is {actions}"
            )

    def is_remote(self) -> bool:
        """Whether env runners or learners are in other processes."""
        return bool(self.num_env_runners or self.evaluation_num_env_runners or self.num_learners)

    def remote_cpus(self) -> float:
        """Cores that the remote env runners and learners ask Ray for."""
        learner = self.num_cpus_per_learner
        if learner == "auto":
            learner = 0 if self.num_gpus_per_learner else 1
        runners = self.num_env_runners + (self.evaluation_num_env_runners or 0)
        return runners * self.num_cpus_per_env_runner + self.num_learners * learner

    def _check_sizes(self, field: str) -> None:
        """The setting is a list of layers' widths."""
        sizes = getattr(self, field)
        if not sizes or not all(is_whole(size, 1) for size in sizes):
            self._value_error(f"{field} is {sizes!r}; it must be integers of at least 1")

    def _check_network(self) -> None:
        """The settings `network`, `hidden_size` and `embedding_size`, where there are such."""
        if self.network not in NETWORKS:
            self._value_error(f"network is {self.network!r}; allowed are {NETWORKS}")
        if not is_whole(self.hidden_size, 1):
            self._value_error(f"hidden_size is {self.hidden_size!r}; it must be at least 1")
        if not is_whole(self.embedding_size, 0):
            self._value_error(f"embedding_size is {self.embedding_size!r}; it must be at least 0")

    def _set(self, arguments: dict) -> None:
        """Set the fields that are given among the `locals()` of a `training` method."""
        for name, value in arguments.items():
            if value is not NotProvided and name not in ("self", "kwargs", "__class__"):
                setattr(self, name, value)


class PolicyAlgorithm(Algorithm):
    """Samples rows of all agents, and saves what it standardises rewards by.

    Attributes:
        groups: {module_id: indices of its agents}
        own_spaces: {module_id: spaces of its agents}; None if all agents have the same
        saved: {name: what has get_state and set_state}, with a checkpoint; reward_standardizer is
    """

    def setup(self, config: PolicyConfig) -> None:
        session.provide(config.remote_cpus()) if config.is_remote() else session.alone()
        super().setup(config)
        observations, actions = (joint.spaces for joint in self.spaces[INPUT_ENV_SINGLE_SPACES])
        agents = tuple(observations)
        self.groups = configured_groups(agents, self.config)
        self.own_spaces: dict[str, OwnSpaces] | None = None
        if not (_alike(observations.values()) and _alike(actions.values())):
            self.own_spaces = own_spaces(self.groups, agents, observations, actions)
        self.reward_standardizer = RewardStandardizer()
        self.saved: dict[str, Any] = {_REWARDS: self.reward_standardizer}

    def sampled(self) -> list[Sequences]:
        """The rows of one sample of each env runner; none if no env runner is left."""
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            samples, results = synchronous_parallel_sample(
                worker_set=self.env_runner_group,
                concat=True,
                sample_timeout_s=self.config.sample_timeout_s,
                _uses_new_env_runners=True,
                _return_metrics=True,
            )
        self.metrics.aggregate(results, key=ENV_RUNNER_RESULTS)
        return samples

    def get_state(self, components=None, *, not_components=None, **kwargs) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)
        asked = [x for x in self.saved if self._check_component(x, components, not_components)]
        return state | {name: self.saved[name].get_state() for name in asked}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        for name in self.saved.keys() & state.keys():
            self.saved[name].set_state(state[name])

    def restore_from_path(self, path, *args, **kwargs) -> None:
        super().restore_from_path(path, *args, **kwargs)
        self.sync_all_env_runners()

    def sync_all_env_runners(self) -> None:
        """Give all env runners, local, remote and those of evaluation, the learners' weights."""
        self.sync_env_runners(self.env_runner_group, self.eval_env_runner_group)

    def sync_env_runners(self, *groups: EnvRunnerGroup | None) -> None:
        """Give the env runners of these groups the learners' weights.

        Returns when they have them. The number of environment steps goes with the weights, for
        exploration schedules.
        """
        learner = self.learner_group.get_state(
            components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=True
        )[COMPONENT_LEARNER]
        steps = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        state = ray.put(
            {
                COMPONENT_RL_MODULE: learner[COMPONENT_RL_MODULE],
                WEIGHTS_SEQ_NO: learner[WEIGHTS_SEQ_NO],
                NUM_ENV_STEPS_SAMPLED_LIFETIME: int(steps),
            }
        )

        def accept(runner: EnvRunner) -> None:
            runner._weights_seq_no = 0  # older weights are welcome too
            runner.set_state(ray.get(state))

        for group in groups:
            if group is not None:
                group.foreach_env_runner(accept)


def _alike(spaces: Iterable[gymnasium.Space]) -> bool:
    first, *others = spaces
    return all(space == first for space in others)
