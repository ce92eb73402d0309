"""What all problems share: B independent copies as arrays, and the PettingZoo view of one copy.

A problem is written once, as a subclass of `Problem`, over arrays with a leading batch axis of
B = num_envs copies and N agents. `ParallelView` presents the case B = 1 as a PettingZoo
`ParallelEnv`: the same code steps both, so copy b of a batch and a single environment that start
from the same seed live through bit-identical episodes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import gymnasium
import numpy as np
from pettingzoo import ParallelEnv

# {agent: observation} -> {agent: action}, made anew for each episode. Arrays may carry leading
# batch axes: {agent: [B, *O]} -> {agent: [B, *A]} plays B episodes side by side.
Policy = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


class Problem(ABC):
    """B copies of one control problem.

    A subclass sets `agents`, `observation_space`, `action_space` (each the same for all agents)
    and `state_space` in its __init__, calls `super().__init__(config, num_envs)`, and writes
    `_start`, `_advance` and the readers below. All randomness of copy b comes from
    `self.generators[b]`.
    """

    name: str  # the module's name
    agents: tuple[str, ...]
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    state_space: gymnasium.spaces.Box

    def __init__(self, config: Any, num_envs: int = 1):
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}; it must be at least 1")
        self.config = config
        self.num_envs = num_envs
        self.generators = [np.random.default_rng() for _ in range(num_envs)]
        self._running = np.zeros(num_envs, bool)

    @abstractmethod
    def _start(self, copies: np.ndarray) -> None:
        """Begin a new episode in the copies with these indices."""

    @abstractmethod
    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Play one step: rewards [B, N] float32, terminated [B] bool, truncated [B] bool."""

    @abstractmethod
    def observations(self) -> np.ndarray:
        """What every agent sees now: [B, N, *observation_space.shape], float32."""

    @abstractmethod
    def state(self) -> np.ndarray:
        """The true global state, for centralised training only: [B, S], float32."""

    @abstractmethod
    def metrics(self) -> dict[str, np.ndarray]:
        """Results of the episode so far in physical units: {name: [B]}."""

    def action_masks(self) -> np.ndarray | None:
        """Which actions are legal now, [B, N, components, actions] bool; None if all are."""
        return None

    @property
    def observation_spaces(self) -> dict[str, gymnasium.Space]:
        """By agent; all have the same."""
        return dict.fromkeys(self.agents, self.observation_space)

    @property
    def action_spaces(self) -> dict[str, gymnasium.Space]:
        """By agent; all have the same."""
        return dict.fromkeys(self.agents, self.action_space)

    def active(self) -> np.ndarray:
        """Whose part of the episode is not over, [B, N] bool: here everyone acts to its end."""
        return np.ones((self.num_envs, len(self.agents)), bool)

    def windows(self) -> np.ndarray | None:
        """Which part of a recording each copy plays, [B]; None if episodes share none.

        Episodes of one window are alike, which whoever compares policies must know.
        """
        return None

    def render(self, copy: int, mode: str) -> str | np.ndarray:
        """A picture of one copy: text for "ansi", [height, width, 3] uint8 for "rgb_array"."""
        raise NotImplementedError(f"{self.name} has no render mode {mode!r}")

    def reset(
        self,
        seeds: Sequence[int | None] | None = None,
        copies: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Begin new episodes and return the observations of all copies, [B, N, *O].

        Args:
            seeds: one per copy that is reset. A seed makes that copy's generator anew; None
                lets it continue, so an unseeded reset after a seeded one is reproducible too.
            copies: indices of the copies to reset; all of them by default.

        Raises:
            ValueError: if the number of seeds is not the number of copies.
        """
        copies = np.arange(self.num_envs) if copies is None else np.asarray(copies, dtype=np.int64)
        if seeds is not None:
            if len(seeds) != len(copies):
                raise ValueError(f"{len(seeds)} seeds for {len(copies)} copies: one each is needed")
            for copy, seed in zip(copies, seeds, strict=True):
                if seed is not None:
                    self.generators[copy] = np.random.default_rng(seed)
        self._start(copies)
        self._running[copies] = True
        return self.observations()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Play one step of every copy.

        Args:
            actions: [B, N, *action_space.shape]

        Returns:
            observations [B, N, *O], rewards [B, N], terminated [B], truncated [B]. A copy that
            ended stays as it is, for `state()` and `metrics()`, until `reset(copies=...)`.

        Raises:
            ValueError: for a wrong shape or an action outside the action space.
            RuntimeError: if a copy has ended, or never began.
        """
        if not self._running.all():
            ended = np.flatnonzero(~self._running).tolist()
            raise RuntimeError(f"copies {ended} have no episode in progress: reset them first")
        rewards, terminated, truncated = self._advance(self._checked(actions))
        self._running = ~(terminated | truncated)
        return self.observations(), rewards, terminated, truncated

    def close(self) -> None:  # noqa: B027 (most problems hold nothing but memory)
        """Release what the problem holds."""

    def _checked(self, actions: np.ndarray) -> np.ndarray:
        """The actions in the dtype of the action space, or an error that says what is wrong."""
        space, actions = self.action_space, np.asarray(actions)
        if isinstance(space, gymnasium.spaces.Box):  # a bound such as 0.1 is that of its dtype
            actions = actions.astype(space.dtype, copy=False)
        expected = (self.num_envs, len(self.agents), *space.shape)
        if actions.shape != expected:
            raise ValueError(f"actions have shape {actions.shape}; expected {expected}")
        if isinstance(space, gymnasium.spaces.Box):
            bad = ~((actions >= space.low) & (actions <= space.high))  # NaN compares false
        else:
            low, count = _discrete_range(space)
            bad = (actions < low) | (actions >= low + count) | (actions != np.floor(actions))
        if bad.any():
            copy, agent = np.argwhere(bad)[0][:2]
            raise ValueError(
                f"action of {self.agents[agent]} is {actions[copy, agent].tolist()}; "
                f"allowed is {space}"
            )
        return actions.astype(space.dtype, copy=False)


def _discrete_range(space: gymnasium.Space) -> tuple[np.ndarray, np.ndarray]:
    """First value and number of values of every component of a discrete space."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return np.asarray(space.start), np.asarray(space.n)
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return space.start, space.nvec
    raise TypeError(f"problems have Box, Discrete or MultiDiscrete actions, not {space}")


@dataclass(frozen=True)
class Baseline:
    """A heuristic to compare with: a policy, and what it asks of the problem."""

    policy: Callable[[Problem], Policy]  # called anew for each batch of episodes
    configure: Callable[[Any], Any] = lambda config: config  # Config -> Config it plays under
    oracle: bool = False  # told what no deployment could know


class ParallelView(ParallelEnv):
    """One copy of a problem as a PettingZoo `ParallelEnv`.

    `make_batch(num_envs)` gives the same problem with more copies, as arrays.
    """

    def __init__(self, problem: Problem, render_mode: str | None = None):
        modes = ("ansi", "rgb_array")
        if render_mode not in (None, *modes):
            raise ValueError(f"render_mode is {render_mode!r}; allowed are None, {modes}")
        self.problem = problem
        self.render_mode = render_mode
        self.metadata = {"name": f"{problem.name}_v0", "render_modes": list(modes)}
        self.possible_agents = list(problem.agents)
        self.agents: list[str] = []
        self.state_space = problem.state_space
        # One object per agent, as PettingZoo asks; the same space must not be re-made per call.
        self.observation_spaces = dict.fromkeys(self.possible_agents, problem.observation_space)
        self.action_spaces = dict.fromkeys(self.possible_agents, problem.action_space)

    def make_batch(self, num_envs: int) -> Problem:
        """The same problem with `num_envs` copies."""
        return type(self.problem)(self.problem.config, num_envs)

    def observation_space(self, agent: str) -> gymnasium.Space:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gymnasium.Space:
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict | None = None):
        """Begin an episode: ({agent: observation}, {agent: info})."""
        observations = self.problem.reset(None if seed is None else [seed])
        self.agents = list(self.possible_agents)
        return self._by_agent(observations), self._infos()

    def step(self, actions: dict[str, np.ndarray]):
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
        shape = self.problem.action_space.shape
        for agent, action in actions.items():
            array = np.asarray(action)
            if array.shape != shape or not np.issubdtype(array.dtype, np.number):
                raise ValueError(
                    f"action of {agent} is {action!r}; it must be numbers of shape {shape}"
                )
        joint = np.stack([np.asarray(actions[agent]) for agent in self.agents])[None]
        observations, rewards, terminated, truncated = self.problem.step(joint)
        over = bool(terminated[0] or truncated[0])
        result = (
            self._by_agent(observations),
            {agent: float(rewards[0, i]) for i, agent in enumerate(self.agents)},
            dict.fromkeys(self.agents, bool(terminated[0])),
            dict.fromkeys(self.agents, bool(truncated[0])),
            self._infos(self.metrics() if over else None),
        )
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
        return None if self.render_mode is None else self.problem.render(0, self.render_mode)

    def close(self) -> None:
        self.problem.close()

    def __repr__(self) -> str:
        return f"{self.metadata['name']}({asdict(self.problem.config)})"

    def _by_agent(self, values: np.ndarray) -> dict[str, np.ndarray]:
        return {agent: values[0, i].copy() for i, agent in enumerate(self.agents)}

    def _infos(self, metrics: dict[str, float] | None = None) -> dict[str, dict]:
        masks = self.problem.action_masks()
        infos = {}
        for i, agent in enumerate(self.agents):
            infos[agent] = {} if masks is None else {"action_mask": masks[0, i].copy()}
            if metrics is not None:
                infos[agent]["metrics"] = metrics
        return infos
