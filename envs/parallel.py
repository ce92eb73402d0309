"""One copy of a problem as a PettingZoo environment.

    env = parallel_env(num_balancers=4, render_mode="human", max_cycles=100)

`ParallelView` is the `ParallelEnv`. What PettingZoo looks for in an environment's module,
`parallel_env`, `env` and `raw_env`, a problem's module makes of its `Problem` and `Config`:

    parallel_env = partial(parallel.make, Problem, Config)
    raw_env = partial(parallel.make_raw_aec, Problem, Config)
    env = partial(parallel.make_aec, Problem, Config)

The keywords of all three are `render_mode`, `max_cycles` and the fields of the Config.
"""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.conversions import parallel_to_aec_wrapper
from pettingzoo.utils.wrappers import AssertOutOfBoundsWrapper, OrderEnforcingWrapper

from marlserve.envs.actions import are_numbers
from marlserve.envs.base import Problem, changed_fields

RENDER_MODES = ("human", "ansi", "rgb_array")
RENDER_FPS = 10  # steps in a second of video


class ParallelView(ParallelEnv):
    """One copy of a problem as a PettingZoo `ParallelEnv`.

    Args:
        problem: one copy.
        render_mode: "ansi" for text, "rgb_array" for [height, width, 3] uint8, "human" to print
            the text after every reset and step; None for no pictures.
        max_cycles: steps after which an episode is truncated that is not over before; None: no
            other end than the problem's.

    Raises:
        ValueError: for another render_mode, a max_cycles below 1, and several copies.
    """

    def __init__(
        self, problem: Problem, render_mode: str | None = None, max_cycles: int | None = None
    ):
        if render_mode not in (None, *RENDER_MODES):
            raise ValueError(f"render_mode is {render_mode!r}; allowed are None, {RENDER_MODES}")
        if max_cycles is not None and (not isinstance(max_cycles, int) or max_cycles < 1):
            raise ValueError(f"max_cycles is {max_cycles!r}; allowed is None, or at least 1")
        if problem.num_envs != 1:
            raise ValueError(f"the problem has {problem.num_envs} copies; a ParallelEnv is one")
        self.problem = problem
        self.render_mode = render_mode
        self.max_cycles = max_cycles
        self.metadata = {
            "name": f"{problem.name}_v0",
            "render_modes": list(RENDER_MODES),
            "render_fps": RENDER_FPS,
        }
        self.possible_agents = list(problem.agents)
        self.agents: list[str] = []
        self.state_space = problem.state_space
        # One object per agent, as PettingZoo asks; the same space must not be re-made per call.
        self.observation_spaces = dict.fromkeys(self.possible_agents, problem.observation_space)
        self.action_spaces = dict.fromkeys(self.possible_agents, problem.action_space)
        self._cycles = 0

    def make_batch(self, num_envs: int) -> Problem:
        """The same problem with `num_envs` copies.

        Raises:
            ValueError: if max_cycles is set: arrays end when the problem's episodes do.
        """
        if self.max_cycles is not None:
            raise ValueError(f"max_cycles is {self.max_cycles}; a batch allows None alone")
        return type(self.problem)(self.problem.config, num_envs)

    def observation_space(self, agent: str) -> gymnasium.Space:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gymnasium.Space:
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
        """Begin an episode: ({agent: observation}, {agent: info}). There are no options.

        Without a seed the problem's generator goes on from where it is.
        """
        observations = self.problem.reset(None if seed is None else [seed])
        self.agents = list(self.possible_agents)
        self._cycles = 0
        self._show()
        return self._by_agent(observations), self._infos()

    def step(
        self, actions: dict[str, np.ndarray]
    ) -> tuple[
        dict[str, np.ndarray], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict]
    ]:
        """Play one step: observations, rewards, terminations, truncations, infos, by agent.

        The infos of the last step hold the episode's "metrics".

        Raises:
            ValueError: for missing or unknown agents and for an action outside its space; the
                message names the agent and the value.
            RuntimeError: if the episode has ended, or never began.
        """
        if set(actions) != set(self.agents):
            raise ValueError(f"actions are given for {sorted(actions)}; expected {self.agents}")
        if not self.agents:
            raise RuntimeError("there is no episode in progress: reset first")
        joint = np.stack([self._numbers(agent, actions[agent]) for agent in self.agents])[None]
        observations, rewards, terminations, truncations = self.problem.step(joint)
        self._cycles += 1
        terminated = bool(terminations[0])
        truncated = bool(truncations[0]) or (not terminated and self._cycles == self.max_cycles)
        over = terminated or truncated
        result = (
            self._by_agent(observations),
            {agent: float(rewards[0, i]) for i, agent in enumerate(self.agents)},
            dict.fromkeys(self.agents, terminated),
            dict.fromkeys(self.agents, truncated),
            self._infos(self.metrics() if over else None),
        )
        self._show()
        if over:
            self.agents = []
        return result

    def state(self) -> np.ndarray:
        """The true global state, [S] float32."""
        return self.problem.state()[0]

    def metrics(self) -> dict[str, float]:
        """Results of the episode so far, in physical units."""
        return {name: float(values[0]) for name, values in self.problem.metrics().items()}

    def render(self) -> str | np.ndarray | None:
        """The picture of the render_mode; "human" prints it and gives None."""
        if self.render_mode == "human":
            print(self.problem.render(0, "ansi"), flush=True)
        elif self.render_mode is not None:
            return self.problem.render(0, self.render_mode)
        return None

    def close(self) -> None:
        self.problem.close()

    def __repr__(self) -> str:
        return f"{self.metadata['name']}({', '.join(changed_fields(self.problem.config))})"

    def _numbers(self, agent: str, action: np.ndarray) -> np.ndarray:
        array, shape = np.asarray(action), self.problem.action_space.shape
        if array.shape != shape or not are_numbers(array):
            raise ValueError(
                f"action of {agent} is {action!r}; it must be numbers of shape {shape}"
            )
        return array

    def _show(self) -> None:
        if self.render_mode == "human":
            self.render()

    def _by_agent(self, values: np.ndarray) -> dict[str, np.ndarray]:
        return {agent: values[0, i].copy() for i, agent in enumerate(self.agents)}

    def _infos(self, metrics: dict[str, float] | None = None) -> dict[str, dict]:
        masks = self.problem.action_masks()
        infos: dict[str, dict] = {}
        for i, agent in enumerate(self.agents):
            infos[agent] = {} if masks is None else {"action_mask": self._mask(masks[0, i])}
            if metrics is not None:
                infos[agent]["metrics"] = metrics
        return infos

    def _mask(self, mask: np.ndarray) -> np.ndarray:
        """[components, actions] int8; of a Discrete space [actions], as its `sample` takes it."""
        discrete = isinstance(self.problem.action_space, Discrete)
        return (mask[0] if discrete else mask).astype(np.int8)


def make(
    problem: Callable[..., Problem],
    config: Callable[..., Any],
    render_mode: str | None = None,
    max_cycles: int | None = None,
    **settings: Any,
) -> ParallelView:
    """A problem's `parallel_env`.

    Raises:
        ValueError: for a bad value; see `ParallelView`.
        TypeError: for a field that the Config does not have.
    """
    return ParallelView(problem(config(**settings), 1), render_mode, max_cycles)


def make_raw_aec(
    problem: Callable[..., Problem], config: Callable[..., Any], **settings: Any
) -> AECEnv:
    """A problem's `raw_env`: agents take turns, and the last one's turn plays the step."""
    return parallel_to_aec_wrapper(make(problem, config, **settings))


def make_aec(
    problem: Callable[..., Problem], config: Callable[..., Any], **settings: Any
) -> AECEnv:
    """A problem's `env`: `raw_env`, checked for calls out of order and, where actions are discrete,
    out of bounds. A Box's bounds are checked by the problem, which takes any floats."""
    env = make_raw_aec(problem, config, **settings)
    if not isinstance(env.action_space(env.possible_agents[0]), Box):
        env = AssertOutOfBoundsWrapper(env)
    return OrderEnforcingWrapper(env)
