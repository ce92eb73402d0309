"""From a config's environment, however it is given, to a batch environment of B copies."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
from pettingzoo import ParallelEnv
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.tune.registry import ENV_CREATOR, _global_registry

from marlserve.policies.sampling.batch_env import BatchEnv
from marlserve.policies.sampling.gymnasium_env import SingleAgentParallelEnv
from marlserve.policies.sampling.parallel_batch import ParallelBatch, checked_agents


def make_batch(config: AlgorithmConfig, context: EnvContext) -> BatchEnv:
    """`config.num_envs_per_env_runner` copies of `config.env`.

    The environment may be a name registered with `tune.register_env`, a class or a function of
    the env_config. One with a function `make_arrays(env_config, num_envs)`, as `ProblemEnv` and
    the names of our problems have, gives the batch by that. Others give a PettingZoo
    `ParallelEnv`, an RLlib wrapper around one, or a Gymnasium `Env`: B instances are adapted by
    `ParallelBatch`, unless the first proves to be a view of arrays, with a `make_batch(num_envs)`.

    Raises:
        ValueError: for an unknown name, no environment, or another kind of environment.
    """
    if isinstance(config.env, str):
        if not _global_registry.contains(ENV_CREATOR, config.env):
            raise ValueError(
                f"environment {config.env!r} is not registered; use tune.register_env, or give "
                "the class, as policies.config(...).environment(...) does for our problems and "
                "for Gymnasium's ids"
            )
        create = _global_registry.get(ENV_CREATOR, config.env)
    elif callable(config.env):
        create = config.env
    else:
        raise ValueError(f"config.env is {config.env!r}; expected a registered name or a class")
    num_envs = config.num_envs_per_env_runner
    if hasattr(create, "make_arrays"):
        return create.make_arrays(context, num_envs)
    make_copy = partial(_make_copy, create, context)
    env = make_copy(0)
    # Of the class itself: a PettingZoo wrapper would pass the attribute of what it wraps.
    if hasattr(type(env), "make_batch"):
        checked_agents(env)
        return env.make_batch(num_envs)
    envs = [env, *(make_copy(copy) for copy in range(1, num_envs))]
    return ParallelBatch(envs, make_copy if config.restart_failed_sub_environments else None)


def _make_copy(create: Callable[[EnvContext], Any], context: EnvContext, copy: int) -> ParallelEnv:
    env = create(context.copy_with_overrides(vector_index=copy))
    for name in ("parallel_env", "par_env"):  # our wrapper, RLlib's
        if not isinstance(env, ParallelEnv):
            env = getattr(env, name, env)
    if isinstance(env, gymnasium.Env) and not isinstance(env, MultiAgentEnv):
        return SingleAgentParallelEnv(env)
    if not isinstance(env, ParallelEnv):
        raise ValueError(
            f"environment is a {type(env).__name__}; expected a PettingZoo ParallelEnv, an RLlib "
            "wrapper around one, or a Gymnasium Env"
        )
    return env


class JointEnv:
    """A batch environment with the attributes that RLlib reads from an env runner's `env`.

    Callbacks find the batch environment as `env.batch`. The Dict spaces keep the agents' order,
    which is that of the agent axis in all arrays.
    """

    def __init__(self, batch: BatchEnv):
        self.batch = batch
        self.num_envs = batch.num_envs
        self.envs = list(getattr(batch, "envs", ()))
        self.single_observation_space = gymnasium.spaces.Dict(
            OrderedDict((agent, batch.observation_spaces[agent]) for agent in batch.agents)
        )
        self.single_action_space = gymnasium.spaces.Dict(
            OrderedDict((agent, batch.action_spaces[agent]) for agent in batch.agents)
        )
        self.observation_space = self.single_observation_space
        self.action_space = self.single_action_space

    @property
    def unwrapped(self) -> "JointEnv":
        return self

    def close(self) -> None:
        self.batch.close()
