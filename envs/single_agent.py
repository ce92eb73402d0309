"""A problem with one agent as a Gymnasium environment.

    gymnasium.make("marlserve:marlserve/KvCache-v0", num_servers=50, render_mode="ansi")

The problem "kv_cache" is `marlserve/KvCache-v0`, and so for all names; keywords are `render_mode`
and the fields of the problem's Config. `import marlserve` announces them, which the part before the
colon makes Gymnasium do: since its version 1.0 it looks for no plugins by itself.

Every problem has an id, as the settings decide how many agents it has: `marlserve/LoadBalance-v0`
can be made with num_balancers=1, and is an error with more.
"""

from typing import Any

import gymnasium
import numpy as np

from marlserve.envs.parallel import ParallelView


class SingleAgentView(gymnasium.Env):
    """The one agent's side of a `ParallelView`: its observations, actions and rewards.

    The info of the last step holds the episode's "metrics"; where a problem has them, every info
    holds the "action_mask". `view` is the PettingZoo environment, `view.problem` the arrays.

    Raises:
        ValueError: if the problem has several agents; in `step`, for an action outside the space.
        RuntimeError: in `step`, if there is no episode in progress.
    """

    def __init__(self, view: ParallelView):
        if len(view.possible_agents) != 1:
            raise ValueError(
                f"{view.problem.name} has {len(view.possible_agents)} agents, "
                f"{view.possible_agents}; a Gymnasium environment has one"
            )
        self.view = view
        (self.agent,) = view.possible_agents
        self.observation_space = view.observation_space(self.agent)
        self.action_space = view.action_space(self.agent)
        self.render_mode = view.render_mode
        self.metadata = view.metadata

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Begin an episode: observation, info. Without a seed the generator goes on."""
        super().reset(seed=seed)  # Gymnasium's own generator; the problem draws from its own
        observations, infos = self.view.reset(seed, options)
        return observations[self.agent], infos[self.agent]

    def step(self, action: np.ndarray):
        """Play one step: observation, reward, terminated, truncated, info."""
        if not self.view.agents:
            raise RuntimeError("there is no episode in progress: reset first")
        return tuple(result[self.agent] for result in self.view.step({self.agent: action}))

    def render(self) -> Any:
        """As `ParallelView.render`."""
        return self.view.render()

    def close(self) -> None:
        self.view.close()

    def __repr__(self) -> str:
        return f"SingleAgentView({self.view!r})"


def gymnasium_id(problem: str) -> str:
    """Under which Gymnasium knows a problem: "marlserve/KvCache-v0" for "kv_cache"."""
    return f"marlserve/{''.join(map(str.capitalize, problem.split('_')))}-v0"


def announce(problem: str) -> None:
    """Let Gymnasium know a problem, which is imported when one is made; twice does no harm."""
    name = gymnasium_id(problem)
    if name not in gymnasium.registry:
        maker = "marlserve.envs:make_single_agent"
        gymnasium.register(name, entry_point=maker, kwargs={"problem": problem})
