"""Any PettingZoo `ParallelEnv`, as a `BatchEnv` of B instances."""

import logging
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, flatdim
from pettingzoo import ParallelEnv

from marlserve.policies.sampling.actions import ActionArrays
from marlserve.policies.sampling.joint_actions import joint_actions
from marlserve.policies.sampling.observation_reader import ObservationReader
from marlserve.policies.sampling.own_spaces import own

logger = logging.getLogger(__name__)

_MAX_RESTARTS = 3  # of one copy without a single step between


class ParallelBatch:
    """B instances of one environment, stepped one after the other.

    - Observations: as `ObservationReader` reads them. Where agents' differ in shape, each is a row
      of numbers, padded with zeros.
    - Actions: where agents' spaces differ, as `JointActions` has them.
    - Action masks: from the observations, or else from `infos[agent]["action_mask"]`; [A] for
      `Discrete`, [H, A] or the components' masks end to end for `MultiDiscrete`.
    - An agent that is done before the others is inactive from then on: its observation is zero
      and only its action 0 is legal.
    - State: the environment's own, flattened, if it has a `state_space`; else all observations
      end to end. The environment is asked for it only if `state()` is, and not after the episode
      has terminated, when some have none: it then stays what it was.
    - Metrics: `infos[agent]["metrics"]` of the last step, if any.

    Args:
        envs: the instances.
        remake: makes another instance, `remake(copy)`, in place of one that raised; without it
            errors propagate.

    Attributes:
        failed: [B] bool, which copies raised in the last step and were replaced: they must be
            reset.

    Raises:
        ValueError: for agents that are not named by strings, or spaces that no array can hold.
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
        self._readers = [ObservationReader(env.observation_space(agent)) for agent in self.agents]
        self.observation_spaces = {
            agent: reader.space for agent, reader in zip(self.agents, self._readers, strict=True)
        }
        self.action_spaces = {agent: env.action_space(agent) for agent in self.agents}
        spaces = list(self.action_spaces.values())
        self._actions = [ActionArrays(space) for space in spaces]
        self._legal = joint_actions(spaces).legal  # [H, A] or [N, H, A] or None

        first, *others = self._readers
        self._padded = any(other.shape != first.shape for other in others)
        shape = first.shape
        dtype: np.dtype = np.dtype(np.float32)
        if self._padded:
            shape = (max(prod(reader.shape) for reader in self._readers),)
        elif np.issubdtype(first.dtype, np.integer) and {r.dtype for r in others} <= {first.dtype}:
            dtype = first.dtype  # images stay bytes
        self._observations = np.zeros((self.num_envs, self.num_agents, *shape), dtype)
        self._blank = np.zeros(shape, dtype)  # of an inactive agent
        self._active = np.zeros((self.num_envs, self.num_agents), bool)

        self._own_state = getattr(env, "state_space", None) is not None
        size = flatdim(env.state_space) if self._own_state else self.num_agents * prod(shape)
        self.state_space = Box(-np.inf, np.inf, (size,), np.float32)
        self._states = np.zeros((self.num_envs, size), np.float32)
        self._stale = np.zeros(self.num_envs, bool)  # whose state is to be read

        self._masks: np.ndarray | None = None
        if any(reader.has_mask for reader in self._readers):
            self._masks = self._no_masks()
        self._metrics: list[dict[str, float]] = [{} for _ in self.envs]
        self._restarts = np.zeros(self.num_envs, np.int64)
        self.failed = np.zeros(self.num_envs, bool)

    @property
    def num_agents(self) -> int:
        return len(self.agents)

    def reset(
        self,
        seeds: Sequence[int | None] | None = None,
        copies: Sequence[int] | np.ndarray | None = None,
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
            self._stale[copy] = True
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
                agent: self._native(i, actions[copy, i])
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
            self._stale[copy] = not terminated[copy]
        return self._observations, rewards, terminated, truncated

    def state(self) -> np.ndarray:
        """The global state, [B, S]."""
        for copy in np.flatnonzero(self._stale):
            if self._own_state:
                self._states[copy] = np.ravel(self.envs[copy].state())
            else:
                self._states[copy] = self._observations[copy].ravel()
        self._stale[:] = False
        return self._states

    def action_masks(self) -> np.ndarray | None:
        """Legal actions, [B, N, H, A] bool, or None if the environment has no masks."""
        return self._masks

    def active(self) -> np.ndarray:
        """Whose part of the episode is not over, [B, N] bool."""
        return self._active

    def costs(self) -> None:
        """There is no constraint."""

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

    def _native(self, agent: int, action: np.ndarray) -> Any:
        """What the environment is told of one agent's action."""
        arrays = self._actions[agent]
        action = own(action, 0, arrays.shape)
        if isinstance(arrays.space, Discrete):
            return int(action)
        return action.astype(arrays.space.dtype, copy=False)

    def _read(self, copy: int, observations: dict, infos: dict, active: set[str]) -> None:
        """Take in what the copy shows after a reset or step."""
        self._active[copy] = [agent in active for agent in self.agents]
        if self._padded:
            self._observations[copy] = 0
            for i, agent in enumerate(self.agents):
                if agent in active:
                    numbers = np.ravel(self._readers[i].numbers(observations[agent]))
                    self._observations[copy, i, : len(numbers)] = numbers
        else:
            self._observations[copy] = [
                reader.numbers(observations[agent]) if agent in active else self._blank
                for agent, reader in zip(self.agents, self._readers, strict=True)
            ]
        if self._masks is not None:
            for i, agent in enumerate(self.agents):
                row, legal = self._masks[copy, i], self._actions[i].legal
                row[:] = False
                row[:, 0] = True
                if agent in active and legal is not None:
                    _put(row, self._mask_of(i, observations, infos), legal)

    def _mask_of(self, agent: int, observations: dict, infos: dict) -> np.ndarray:
        name = self.agents[agent]
        source = observations[name] if self._readers[agent].has_mask else infos.get(name, {})
        if "action_mask" not in source:
            raise ValueError(f"{name} has no action_mask, though others had one")
        return np.asarray(source["action_mask"], bool)

    def _no_masks(self) -> np.ndarray:
        if self._legal is None:
            spaces = sorted({str(space) for space in self.action_spaces.values()})
            raise ValueError(f"there are action masks for {spaces}, which have no choices")
        return np.zeros((self.num_envs, self.num_agents, *self._legal.shape[-2:]), bool)

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


def _put(row: np.ndarray, mask: np.ndarray, legal: np.ndarray) -> None:
    """Write an agent's mask, in whichever form it comes, into its [H, A]; `legal` is its own."""
    row = row[: legal.shape[0], : legal.shape[1]]
    if mask.ndim == 1 and len(mask) == legal.sum():
        row[:] = False
        row[legal] = mask  # component after component
    elif mask.shape == row.shape:
        row[:] = mask
    else:
        raise ValueError(
            f"action_mask has shape {mask.shape}; expected {(int(legal.sum()),)} or {row.shape}"
        )
