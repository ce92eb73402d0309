"""From a config's environment, however it is given, to a batch environment of B copies."""

from collections import OrderedDict
from functools import partial

import gymnasium
from pettingzoo import ParallelEnv
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.env_context import EnvContext
from ray.tune.registry import ENV_CREATOR, _global_registry

from marlserve.policies.sampling.parallel_batch import ParallelBatch, checked_agents


def make_batch(config: AlgorithmConfig, context: EnvContext):
    """`config.num_envs_per_env_runner` copies of `config.env`.

    The environment may be a name registered with `tune.register_env`, a class or a function of
    the env_config, and give a PettingZoo `ParallelEnv` or an RLlib wrapper around one. If that
    `ParallelEnv` can make arrays of itself (`make_batch`, as our problems do), they are used;
    else B instances are made and adapted by `ParallelBatch`.

    Raises:
        ValueError: for an unknown name, no environment, or another kind of environment.
    """
    if isinstance(config.env, str):
        if not _global_registry.contains(ENV_CREATOR, config.env):
            raise ValueError(
                f"environment {config.env!r} is not registered; use tune.register_env, or give "
                "the class"
            )
        create = _global_registry.get(ENV_CREATOR, config.env)
    elif callable(config.env):
        create = config.env
    else:
        raise ValueError(f"config.env is {config.env!r}; expected a registered name or a class")
    make_copy = partial(_make_copy, create, context)
    env, num_envs = make_copy(0), config.num_envs_per_env_runner
    # Of the class itself: a PettingZoo wrapper would pass the attribute of what it wraps.
    if hasattr(type(env), "make_batch"):
        checked_agents(env)
        return env.make_batch(num_envs)
    envs = [env, *(make_copy(copy) for copy in range(1, num_envs))]
    return ParallelBatch(envs, make_copy if config.restart_failed_sub_environments else None)


def _make_copy(create, context: EnvContext, copy: int) -> ParallelEnv:
    env = create(context.copy_with_overrides(vector_index=copy))
    for name in ("parallel_env", "par_env"):  # our wrapper, RLlib's
        if not isinstance(env, ParallelEnv):
            env = getattr(env, name, env)
    if not isinstance(env, ParallelEnv):
        raise ValueError(
            f"environment is a {type(env).__name__}; expected a PettingZoo ParallelEnv, or an "
            "RLlib wrapper around one"
        )
    return env


class JointEnv:
    """A batch environment with the attributes that RLlib reads from an env runner's `env`.

    Callbacks find the batch environment as `env.batch`. The Dict spaces keep the agents' order,
    which is that of the agent axis in all arrays.
    """

    def __init__(self, batch):
        self.batch = batch
        self.num_envs = batch.num_envs
        self.envs = list(getattr(batch, "envs", ()))
        self.single_observation_space = gymnasium.spaces.Dict(
            OrderedDict((agent, batch.observation_space) for agent in batch.agents)
        )
        self.single_action_space = gymnasium.spaces.Dict(
            OrderedDict((agent, batch.action_space) for agent in batch.agents)
        )
        self.observation_space = self.single_observation_space
        self.action_space = self.single_action_space

    @property
    def unwrapped(self) -> "JointEnv":
        return self

    def close(self) -> None:
        self.batch.close()
