"""Plays a policy file one decision at a time, compiled: for a service that is asked often.

    policy = NumbaPolicy(file.read("served/policy"))
    action = policy.decide("balancer_0", observation)     # [*O] -> [*A]; and a mask [H, A], if any
    policy.reset()                                        # before another episode

It is a `Policy` of `marlserve.envs.base` too, which decides row after row; `NumpyPolicy` is faster
for many rows. Making one compiles the kernel, which takes some seconds once per machine. Threads
need one each: it has a memory of its own, which a decision writes.
"""

from math import prod

import numpy as np

from marlserve.policies.export import numba_kernel as kernel
from marlserve.policies.export.checked import (
    NUMBERS,
    Arrays,
    checked_masks,
    checked_observations,
)
from marlserve.policies.export.network import Network, PolicyFile
from marlserve.policies.export.numba_program import program_of
from marlserve.policies.export.spaces import Choices


class NumbaPolicy:
    """`{agent: observation} -> {agent: action}`, and `decide` for one of them."""

    def __init__(self, file: PolicyFile):
        self.file = file
        self._deciders = {name: Decider(network) for name, network in file.networks.items()}
        self.reset()

    def reset(self) -> None:
        """Forget what was seen: the next observations are the first of their episodes."""
        self._states: dict[str, np.ndarray] = {}  # {agent: [B, S]}
        self._single: dict[str, tuple[Decider, np.ndarray]] = {}  # for `decide`, [S]
        self._batch: int | None = None

    def decide(
        self, agent: str, observation: np.ndarray, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """The greedy action [*A] of one agent, in its one episode.

        Args:
            observation: [*O].
            mask: [H, A] bool, which actions are legal; all if None. Not read for `Box` actions.

        Raises:
            ValueError: for an agent without a policy, a wrong shape, an observation that is not
                finite numbers, and where several episodes are played since the last `reset()`.
        """
        found = self._single.get(agent)
        if found is None:
            if self._batch not in (None, 1):
                raise ValueError(f"{self._batch} episodes are played side by side; reset() first")
            decider = self._decider(agent)
            found = self._single[agent] = decider, self._state(agent, 1)[0]
            self._batch = 1
        return found[0].decide(agent, observation, mask, found[1])

    def __call__(self, observations: Arrays, masks: Arrays | None = None) -> Arrays:
        """The greedy actions, {agent: [B, *A]}; arguments and errors as of `NumpyPolicy`."""
        seen = checked_observations(self.file, observations, self._batch)
        legal = checked_masks(self.file, masks, seen)
        actions: Arrays = {}
        for agent, rows in seen.items():
            self._batch = len(rows)
            decider, states, mask = (
                self._decider(agent),
                self._state(agent, len(rows)),
                legal[agent],
            )
            chosen = [
                decider.decide(agent, row, None if mask is None else mask[index], states[index])
                for index, row in enumerate(rows)
            ]
            actions[agent] = np.array(chosen).reshape(len(rows), *decider.actions.shape)
        return actions

    def _decider(self, agent: str) -> "Decider":
        return self._deciders[self.file.network_of(agent)]

    def _state(self, agent: str, batch: int) -> np.ndarray:
        size = self._decider(agent).state_size
        return self._states.setdefault(agent, np.zeros((batch, size), np.float32))


class Decider:
    """One network's kernel and arrays; one thread at a time.

    Attributes:
        state_size: S, of what it remembers of an episode, which is the caller's: 0 at first.
    """

    def __init__(self, network: Network):
        program, shape = program_of(network), network.observation_space.shape
        self.actions, self.state_size = network.actions, program.state_size
        work = np.zeros(program.work_size, np.float32)
        self._shape, self._observed = shape, work[: prod(shape)].reshape(shape)
        self._arrays = program.rows, program.weights, work
        self._offsets = self._observed.size, program.output
        heads = network.actions.heads
        self.outputs = work[program.output :][: prod(heads)].reshape(heads)
        self._index = work[self._observed.size :][: len(network.indexed_agents)]
        self._network, self._indices = network, dict[str, np.ndarray]()
        self._values = {
            layer.name: work[program.places[layer.name] :][: prod(layer.shape)]
            for layer in network.layers
        }
        self._allowed = np.zeros(network.actions.heads, bool)  # written for every mask
        agent = (*network.indexed_agents, "")[0]
        self.decide(agent, np.zeros(shape), None, np.zeros(self.state_size, np.float32))  # compiles

    def run(self, agent: str, observation: np.ndarray, state: np.ndarray) -> None:
        """See, and let `value_of` say what all layers put out; `state` [S] is changed.

        Raises:
            ValueError: as `NumbaPolicy.decide`; then `state` is as it was.
        """
        self._see(agent, observation)
        if not kernel.evaluate(*self._arrays, state, self._offsets[0]):
            raise _not_finite(agent)

    def value_of(self, layer: str) -> np.ndarray:
        """A copy of what a layer put out, flat."""
        return self._values[layer].copy()

    def decide(
        self, agent: str, observation: np.ndarray, mask: np.ndarray | None, state: np.ndarray
    ) -> np.ndarray:
        """The greedy action; `state` [S] is changed."""
        self._see(agent, observation)
        actions = self.actions
        if isinstance(actions, Choices):
            chosen = np.empty_like(actions.start)
            legal = actions.legal if mask is None else self._both(agent, mask, actions.legal)
            choice = legal, actions.start, chosen
            done = kernel.choose(*self._arrays, state, *self._offsets, *choice)
        else:
            chosen = np.empty_like(actions.low)
            how = actions.low, actions.high, self._network.stretch, self._network.clip, chosen
            done = kernel.compute(*self._arrays, state, *self._offsets, *how)
        if not done:
            raise _not_finite(agent)
        return chosen.reshape(actions.shape)

    def _see(self, agent: str, observation: np.ndarray) -> None:
        """Put it where the kernel reads it."""
        seen = np.asarray(observation)
        if seen.shape != self._shape or seen.dtype.kind not in NUMBERS:
            raise ValueError(
                f"observation of {agent} is {seen.dtype} of shape {seen.shape}; expected are "
                f"numbers of shape {self._shape}"
            )
        self._observed[...] = seen
        if self._index.size:
            if agent not in self._indices:
                self._indices[agent] = self._network.index_of(agent)
            self._index[:] = self._indices[agent]

    def _both(self, agent: str, mask: np.ndarray, legal: np.ndarray) -> np.ndarray:
        """What the space and the mask allow."""
        if np.shape(mask) != legal.shape:
            raise ValueError(
                f"mask of {agent} has shape {np.shape(mask)}; expected is {legal.shape}"
            )
        return np.logical_and(legal, mask, out=self._allowed)


def _not_finite(agent: str) -> ValueError:
    return ValueError(f"observation of {agent} has values that are not finite")
