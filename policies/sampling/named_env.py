"""Environments by name: what RLlib knows, then our problems, then what Gymnasium knows."""

from collections.abc import Mapping
from typing import Any

import gymnasium
from ray.tune.registry import ENV_CREATOR, _global_registry

from marlserve import envs
from marlserve.policies.sampling.gymnasium_env import GymnasiumEnv
from marlserve.policies.sampling.multi_agent_env import ProblemEnv, problem_and_fields


def environment_of(name: str, env_config: Mapping[str, Any]) -> tuple[str | type, dict[str, Any]]:
    """What `AlgorithmConfig.environment` is told of an environment with this name.

    Args:
        name: one that `tune.register_env` was told, one of `envs.names()`, or an id of Gymnasium.
        env_config: what the registered function takes; fields of the problem's Config; arguments
            of Gymnasium's maker.

    Returns:
        the environment, a class unless it is registered, and its env_config.

    Raises:
        ValueError: for an unknown name, and a field that a problem's Config does not have.
    """
    registered = _global_registry.contains(ENV_CREATOR, name)
    # Of `envs.register`, or of nobody: somebody else may have taken the name.
    ours = name in envs.names() and (
        not registered or hasattr(_global_registry.get(ENV_CREATOR, name), "make_arrays")
    )
    config = {"problem": name, **env_config}
    if ours:
        problem_and_fields(config)  # or it says what is wrong
    if registered:
        return name, dict(env_config)
    if ours:
        return ProblemEnv, config
    try:
        gymnasium.spec(name)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise ValueError(
            f"there is no environment {name!r}; known are our problems, {envs.names()}, what "
            "tune.register_env was told, and Gymnasium's ids, e.g. 'CartPole-v1' or "
            f"'module:Name-v0' (which says: {error}). PettingZoo's have no names: use "
            "marlserve.policies.sampling.multi_agent_env.PettingZooEnv with the env_config "
            "{'maker': 'module:function'}"
        ) from error
    return GymnasiumEnv, {"id": name, "kwargs": dict(env_config)}
