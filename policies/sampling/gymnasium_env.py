"""Any single-agent Gymnasium environment, as a multi-agent one with one agent, "agent".

    config.environment(GymnasiumEnv, env_config={"id": "CartPole-v1", "kwargs": {}})

It is an importable class, so a checkpoint that names it is restored elsewhere without a
registration. `VectorEnvRunner` steps B instances of it one after the other.
"""

from typing import Any

import gymnasium
from pettingzoo import ParallelEnv

from marlserve.policies.sampling.multi_agent_env import ParallelMultiAgentEnv

AGENT = "agent"


class SingleAgentParallelEnv(ParallelEnv):
    """One Gymnasium environment as a PettingZoo `ParallelEnv`; its one agent is "agent".

    Observations, rewards and actions are the environment's own, and so are `terminated` and
    `truncated`, which stay apart; a step that is both counts as terminated.
    """

    def __init__(self, env: gymnasium.Env):
        self.env = env
        self.possible_agents = [AGENT]
        self.agents: list[str] = []
        self.render_mode = env.render_mode
        self.metadata = {**env.metadata, "name": env.spec.id if env.spec else type(env).__name__}

    def observation_space(self, agent: str) -> gymnasium.Space:
        return self.env.observation_space

    def action_space(self, agent: str) -> gymnasium.Space:
        return self.env.action_space

    def reset(self, seed: int | None = None, options: dict | None = None):
        observation, info = self.env.reset(seed=seed, options=options)
        self.agents = [AGENT]
        return {AGENT: observation}, {AGENT: info}

    def step(self, actions: dict[str, Any]):
        observation, reward, terminated, truncated, info = self.env.step(actions[AGENT])
        if terminated or truncated:
            self.agents = []
        return (
            {AGENT: observation},
            {AGENT: float(reward)},
            {AGENT: bool(terminated)},
            {AGENT: bool(truncated)},
            {AGENT: info},
        )

    def render(self):
        return self.env.render()

    def close(self) -> None:
        self.env.close()


class GymnasiumEnv(ParallelMultiAgentEnv):
    """A Gymnasium environment: env_config is {"id": its id, "kwargs": arguments of its maker}.

    `kwargs` may be left out. An id may name the module that registers it: "module:Name-v0".

    Raises:
        ValueError: for other keys, or an id that Gymnasium does not know.
    """

    def __init__(self, config: dict[str, Any]):
        unknown = set(config) - {"id", "kwargs"}
        if "id" not in config or unknown:
            raise ValueError(
                f"env_config has the keys {sorted(config)}; expected are 'id' and, optionally, "
                "'kwargs'"
            )
        name, kwargs = config["id"], config.get("kwargs", {})
        try:  # Gymnasium's checker would look at every action once more
            env = gymnasium.make(name, disable_env_checker=True, **kwargs)
        except (gymnasium.error.UnregisteredEnv, ModuleNotFoundError) as error:
            raise ValueError(f"id is {name!r}: {error}") from error
        super().__init__(SingleAgentParallelEnv(env))
