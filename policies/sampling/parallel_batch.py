"""Any PettingZoo `ParallelEnv`, as a batch environment of B instances.

A batch environment is what `marlserve.envs.base.Problem` is to its callers: `agents`, `num_envs`,
`observation_space`, `action_space`, `state_space`, `reset(seeds, copies)`, `step(actions)`,
`state()`, `action_masks()`, `metrics()`, `close()`; and, where agents may leave before the others,
`active()`.
"""

import logging
from collections.abc import Callable, Sequence

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, flatdim, flatten
from pettingzoo import ParallelEnv

from marlserve.policies.sampling.actions import ActionArrays

logger = logging.getLogger(__name__)

_OBSERVATION_KEYS = ("observation", "observations")
_MAX_RESTARTS = 3  # of one copy without a single step between


class ParallelBatch:
    """B instances of one environment, stepped one after the other.

    - Observations: `Box` as they are; a `Dict` of "observation" (or "observations") and
      "action_mask" is taken apart; other spaces are flattened as Gymnasium does it.
    - Action masks: from such a `Dict`, or else from `infos[agent]["action_mask"]`; [A] for
      `Discrete`, [H, A] or the components' masks end to end for `MultiDiscrete`.
    - An agent that is done before the others is inactive from then on: its observation is zero
      and only its action 0 is legal.
    - State: the environment's own, flattened, if it has a `state_space`; else all observations
      end to end.
    - Metrics: `infos[agent]["metrics"]` of the last step, if any.

    Args:
        envs: the instances.
        remake: makes another instance, `remake(copy)`, in place of one that raised; without it
            errors propagate.

    Attributes:
        failed: [B] bool, which copies raised in the last step and were replaced: they must be
            reset.

    Raises:
        ValueError: for agents that are not named by strings, or whose spaces differ.
    """

    def __init__(
        self,
        envs: Sequence[ParallelEnv],
        remake: Callable[[int], ParallelEnv] | None = None,
    ):
        self.envs = list(envs)
        if not self.envs:
            raise ValueError("there are no environments: at least 1 is needed")
        self.num_envs = len(self.envs)
        self._remake = remake
        env = self.envs[0]
        self.agents = checked_agents(env)
        seen = _common_space(env.observation_space, self.agents, "observation")
        self.action_space = _common_space(env.action_space, self.agents, "action")
        self._actions = ActionArrays(self.action_space)
        self._key = None
        if isinstance(seen, Dict) and "action_mask" in seen.spaces:
            self._key = next((key for key in _OBSERVATION_KEYS if key in seen.spaces), None)
            if self._key is None:
                raise ValueError(
                    f"observation space has the keys {sorted(seen.spaces)}; beside 'action_mask' "
                    f"one of {_OBSERVATION_KEYS} is needed"
                )
            seen = seen[self._key]
        self._flatten = None if isinstance(seen, Box) else seen
        if self._flatten is None:
            self.observation_space = seen
        else:
            self.observation_space = Box(-np.inf, np.inf, (flatdim(seen),), np.float32)
        self._own_state = getattr(env, "state_space", None) is not None
        size = self.num_agents * flatdim(self.observation_space)
        if self._own_state:
            size = flatdim(env.state_space)
        self.state_space = Box(-np.inf, np.inf, (size,), np.float32)

        shape = (self.num_envs, self.num_agents)
        kept = np.issubdtype(self.observation_space.dtype, np.integer)  # images stay bytes
        dtype = self.observation_space.dtype if kept else np.float32
        self._observations = np.zeros((*shape, *self.observation_space.shape), dtype)
        self._blank = np.zeros(self.observation_space.shape, dtype)  # of an inactive agent
        self._active = np.zeros(shape, bool)
        self._states = np.zeros((self.num_envs, size), np.float32)
        self._masks: np.ndarray | None = None
        if self._key is not None:
            self._masks = self._no_masks()
        self._metrics: list[dict[str, float]] = [{} for _ in self.envs]
        self._restarts = np.zeros(self.num_envs, np.int64)
        self.failed = np.zeros(self.num_envs, bool)

    @property
    def num_agents(self) -> int:
        return len(self.agents)

    def reset(
        self, seeds: Sequence[int | None] | None = None, copies: Sequence[int] | None = None
    ) -> np.ndarray:
        """Begin new episodes in `copies` (all by default): observations of all, [B, N, *O]."""
        copies = range(self.num_envs) if copies is None else [int(copy) for copy in copies]
        seeds = [None] * len(copies) if seeds is None else seeds
        for copy, seed in zip(copies, seeds, strict=True):
            seed = None if seed is None else int(seed)
            while True:
                try:
                    observations, infos = self.envs[copy].reset(seed=seed)
                    break
                except Exception as error:
                    self._restart(copy, error)
            if self._masks is None and any("action_mask" in info for info in infos.values()):
                self._masks = self._no_masks()
            self.failed[copy] = False
            self._metrics[copy] = {}
            self._read(copy, observations, infos, set(self.envs[copy].agents))
        return self._observations

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Play one step: observations, rewards [B, N], terminated [B], truncated [B].

        Agents that are inactive are not asked. If some of the agents that act in the last step
        are truncated, so is the episode.

        Raises:
            RuntimeError: if a copy has ended, or never began.
        """
        ended = [copy for copy, env in enumerate(self.envs) if not env.agents]
        if ended:
            raise RuntimeError(f"copies {ended} have no episode in progress: reset them first")
        rewards = np.zeros((self.num_envs, self.num_agents), np.float32)
        terminated, truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        self.failed[:] = False
        for copy, env in enumerate(self.envs):
            living = set(env.agents)
            acting = {
                agent: self._native(actions[copy, i])
                for i, agent in enumerate(self.agents)
                if agent in living
            }
            try:
                observations, gained, terminations, truncations, infos = env.step(acting)
            except Exception as error:
                self._restart(copy, error)
                self.failed[copy] = True
                continue
            self._restarts[copy] = 0
            rewards[copy] = [gained.get(agent, 0.0) for agent in self.agents]
            remaining = set(env.agents)
            if all(terminations.get(a) or truncations.get(a) for a in acting):
                terminated[copy] = all(terminations.get(a) for a in acting)
                truncated[copy] = not terminated[copy]
                remaining = {a for a in acting if terminated[copy] or not terminations.get(a)}
                self._metrics[copy] = next(
                    (info["metrics"] for info in infos.values() if "metrics" in info), {}
                )
            self._read(copy, observations, infos, remaining)
        return self._observations, rewards, terminated, truncated

    def state(self) -> np.ndarray:
        """The global state, [B, S]."""
        return self._states

    def action_masks(self) -> np.ndarray | None:
        """Legal actions, [B, N, H, A] bool, or None if the environment has no masks."""
        return self._masks

    def active(self) -> np.ndarray:
        """Whose part of the episode is not over, [B, N] bool."""
        return self._active

    def metrics(self) -> dict[str, np.ndarray]:
        """The metrics that copies reported in the last step of an episode; NaN where none."""
        names = {name for reported in self._metrics for name in reported}
        return {
            name: np.array([reported.get(name, np.nan) for reported in self._metrics])
            for name in sorted(names)
        }

    def close(self) -> None:
        for env in self.envs:
            env.close()

    def _native(self, action: np.ndarray):
        return int(action) if isinstance(self.action_space, Discrete) else action

    def _read(self, copy: int, observations: dict, infos: dict, active: set[str]) -> None:
        """Take in what the copy shows after a reset or step."""
        self._active[copy] = [agent in active for agent in self.agents]
        self._observations[copy] = [
            self._numbers(observations[agent]) if agent in active else self._blank
            for agent in self.agents
        ]
        if self._masks is not None:
            for i, agent in enumerate(self.agents):
                if agent in active:
                    self._put_mask(self._masks[copy, i], self._mask_of(agent, observations, infos))
                else:
                    self._masks[copy, i] = False
                    self._masks[copy, i, :, 0] = True
        if self._own_state:
            self._states[copy] = np.ravel(self.envs[copy].state())
        else:
            self._states[copy] = self._observations[copy].ravel()

    def _numbers(self, seen) -> np.ndarray:
        """One agent's observation without its mask, flattened if it must be."""
        if self._key is not None:
            seen = seen[self._key]
        return seen if self._flatten is None else flatten(self._flatten, seen)

    def _mask_of(self, agent: str, observations: dict, infos: dict) -> np.ndarray:
        source = infos.get(agent, {}) if self._key is None else observations[agent]
        if "action_mask" not in source:
            raise ValueError(f"{agent} has no action_mask, though others had one")
        return np.asarray(source["action_mask"], bool)

    def _put_mask(self, row: np.ndarray, mask: np.ndarray) -> None:
        """Write one agent's mask, in whichever form it comes, into [H, A]."""
        legal = self._actions.legal
        if mask.ndim == 1 and len(mask) == legal.sum():
            row[:] = False
            row[legal] = mask  # component after component
        elif mask.shape == row.shape:
            row[:] = mask
        else:
            raise ValueError(
                f"action_mask has shape {mask.shape}; expected {(int(legal.sum()),)} or {row.shape}"
            )

    def _no_masks(self) -> np.ndarray:
        if self._actions.legal is None:
            raise ValueError(
                f"there are action masks for {self.action_space}, which has no choices"
            )
        return np.zeros((self.num_envs, self.num_agents, *self._actions.legal.shape), bool)

    def _restart(self, copy: int, error: Exception) -> None:
        """Replace a copy that raised, or raise again."""
        self._restarts[copy] += 1
        if self._remake is None or self._restarts[copy] > _MAX_RESTARTS:
            raise error
        logger.error("environment copy %d raised %r and is restarted", copy, error)
        try:
            self.envs[copy].close()
        except Exception as closing:
            logger.error("closing it raised %r", closing)
        self.envs[copy] = self._remake(copy)


def checked_agents(env: ParallelEnv) -> tuple[str, ...]:
    """The possible agents in their order.

    Raises:
        ValueError: if one is not a string: RLlib cannot save metrics of other ids.
    """
    for agent in env.possible_agents:
        if not isinstance(agent, str):
            raise ValueError(
                f"agent id {agent!r} is of type {type(agent).__name__}; ids must be strings"
            )
    return tuple(env.possible_agents)


def _common_space(
    space_of: Callable[[str], gymnasium.Space], agents: tuple[str, ...], kind: str
) -> gymnasium.Space:
    first = space_of(agents[0])
    for agent in agents[1:]:
        if space_of(agent) != first:
            raise ValueError(
                f"{kind} space of {agents[0]} is {first}, of {agent} it is {space_of(agent)}; all "
                "agents must have the same. SuperSuit's pad_observations_v0 and "
                "pad_action_space_v0 make them equal"
            )
    return first
