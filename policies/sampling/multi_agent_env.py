"""PettingZoo parallel environments and our problems as RLlib `MultiAgentEnv` classes.

    config.environment(ProblemEnv, env_config={"problem": "load_balance", "num_balancers": 4})
    config.environment(PettingZooEnv, env_config={
        "maker": "mpe2.simple_spread_v3:parallel_env", "kwargs": {"N": 3}})

They are importable classes, so a checkpoint that names one is restored elsewhere without a
registration. `VectorEnvRunner` takes the environment out of them; all other RLlib algorithms use
them as they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any

from pettingzoo import ParallelEnv
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from marlserve import envs
from marlserve.policies.sampling.parallel_batch import checked_agents


class ParallelMultiAgentEnv(MultiAgentEnv):
    """One PettingZoo `ParallelEnv` for RLlib.

    Unlike RLlib's own wrapper, an episode also ends when its last agents end for different
    reasons (it is then truncated), and the global state is kept: `infos[agent]["state"]` of the
    first agent that has infos, unless the episode has terminated.

    Raises:
        ValueError: for agents that are not named by strings.
    """

    def __init__(self, parallel_env: ParallelEnv):
        self.parallel_env = parallel_env
        self.possible_agents = list(checked_agents(parallel_env))
        self.agents = list(self.possible_agents)
        spaces = parallel_env.observation_space, parallel_env.action_space
        self.observation_spaces = {agent: spaces[0](agent) for agent in self.possible_agents}
        self.action_spaces = {agent: spaces[1](agent) for agent in self.possible_agents}
        self.state_space = getattr(parallel_env, "state_space", None)
        self.render_mode = getattr(parallel_env, "render_mode", None)
        self.metadata = parallel_env.metadata
        super().__init__()

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        observations, infos = self.parallel_env.reset(seed=seed, options=options)
        self.agents = list(observations)
        return dict(observations), self._with_state(infos)

    def step(self, action_dict: dict[str, Any]):
        observations, rewards, terminations, truncations, infos = self.parallel_env.step(
            action_dict
        )
        self.agents = list(observations)  # RLlib counts those that end in this step, too
        over = all(terminations.get(a) or truncations.get(a) for a in action_dict)
        terminated = over and all(terminations.get(agent) for agent in action_dict)
        return (
            dict(observations),
            dict(rewards),
            {**terminations, "__all__": terminated},
            {**truncations, "__all__": over and not terminated},
            _copied(infos) if terminated else self._with_state(infos),
        )

    def render(self):
        return self.parallel_env.render()

    def close(self) -> None:
        self.parallel_env.close()

    def _with_state(self, infos: dict[str, dict]) -> dict[str, dict]:
        infos = _copied(infos)
        if self.state_space is not None and infos:
            infos[next(iter(infos))]["state"] = self.parallel_env.state()
        return infos


def _copied(infos: dict[str, dict]) -> dict[str, dict]:
    return {agent: dict(info) for agent, info in infos.items()}


class ProblemEnv(ParallelMultiAgentEnv):
    """One of our problems: env_config is {"problem": its name, **fields of its Config}.

    Raises:
        ValueError: for a missing or unknown problem, an unknown field or a bad value of one.
    """

    def __init__(self, config: dict[str, Any]):
        name, given = problem_and_fields(config)
        super().__init__(envs.make(name, **given))

    @staticmethod
    def make_arrays(config: Mapping[str, Any], num_envs: int) -> envs.Problem:
        """The same problem as a batch environment of `num_envs` copies; errors as above."""
        name, given = problem_and_fields(config)
        return envs.make_batch(name, num_envs, **given)


class PettingZooEnv(ParallelMultiAgentEnv):
    """A third-party environment: env_config is {"maker": "module:function", "kwargs": {...}}.

    `kwargs` may be left out.

    Raises:
        ValueError: for other keys, or a maker that cannot be found.
    """

    def __init__(self, config: dict[str, Any]):
        unknown = set(config) - {"maker", "kwargs"}
        if "maker" not in config or unknown:
            raise ValueError(
                f"env_config has the keys {sorted(config)}; expected are 'maker' and, "
                "optionally, 'kwargs'"
            )
        super().__init__(_found(config["maker"])(**config.get("kwargs", {})))


def problem_and_fields(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """What the env_config of `ProblemEnv` says.

    Raises:
        ValueError: for a missing or unknown problem, or a field that its Config does not have.
    """
    given = dict(config)
    if "problem" not in given:
        raise ValueError(f"env_config has no 'problem'; there are {envs.names()}")
    name = given.pop("problem")
    known = [field.name for field in fields(envs.module(name).Config)]
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"{name} has no field {unknown}; it has {known}")
    return name, given


def _found(maker: str) -> Callable[..., ParallelEnv]:
    """The function that "module:function" names."""
    module, _, function = maker.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"maker is {maker!r}; expected 'module:function' that can be imported"
        ) from error
