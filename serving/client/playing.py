"""A version of the policy as a client plays it: for each agent, the network that plays for it."""

from dataclasses import dataclass
from random import Random
from threading import Lock
from typing import Any, Protocol

import numpy as np

from marlserve.policies.export.network import ANYONE, Network
from marlserve.policies.export.noise import Noise
from marlserve.policies.export.numba_policy import Decider
from marlserve.policies.export.numpy_policy import numbers_of as told_numbers
from marlserve.policies.export.numpy_single import NumpyDecider
from marlserve.policies.export.spaces import Choices
from marlserve.serving.client.choosing import choice_of, numbers_of
from marlserve.serving.wire.policy_parts import Published


@dataclass(slots=True)
class Choice:
    """What an agent does.

    Attributes:
        action: as it is learned from: indices [H], or numbers [D] as the network puts them out.
        told: what the program is told.
        log_probability: of it.
        outputs: of the network, flat.
        memory: of the network, after it; None if it has none.
    """

    action: list[int] | np.ndarray
    told: Any
    log_probability: float
    outputs: np.ndarray
    memory: np.ndarray | None


class _Decider(Protocol):
    state_size: int

    def run(self, agent: str, observation: np.ndarray, state: np.ndarray) -> None: ...

    def value_of(self, layer: str) -> np.ndarray: ...


class Playing:
    """A version, ready to be asked.

    Attributes:
        run, version, epsilon: as published.

    Raises:
        ValueError: if the file is broken.
    """

    def __init__(self, published: Published, evaluator: str):
        self.run, self.version, self.epsilon = published.run, published.version, published.epsilon
        file = published.policy_file()
        players = {
            name: _Player(network, published.noises.get(name), published.epsilon, evaluator)
            for name, network in file.networks.items()
        }
        self._players = {agent: players[name] for agent, name in file.agents.items()}

    def choose(
        self,
        agent: str,
        observation: np.ndarray,
        legal: np.ndarray | None,
        memory: np.ndarray | None,
        random: Random,
    ) -> Choice:
        """What an agent does.

        Args:
            observation: [*O].
            legal: [H, A] bool, what it may do; None: all.
            memory: of its network, from before; None: the episode begins.

        Raises:
            ValueError: for an agent that nobody plays for, and an observation of another shape, or
                not finite.
        """
        player = self._players.get(agent) or self._players.get(ANYONE)
        if player is None:
            raise ValueError(f"agent {agent!r} has no policy; there are {sorted(self._players)}")
        return player.choose(agent, observation, legal, memory, random)


class _Player:
    """One network, which may play for several agents and in several threads."""

    def __init__(self, network: Network, noise: Noise | None, epsilon: float, evaluator: str):
        if noise is not None:
            noise.check(network)
        self._network, self._noise, self._epsilon = network, noise, epsilon
        self._last, self._is_drawn = network.layers[-1].name, network.outputs == "logits"
        actions = network.actions
        self._is_choice = isinstance(actions, Choices)
        self._sizes, self._start = list[int](), list[int]()
        if isinstance(actions, Choices):
            self._sizes, self._start = actions.legal.sum(-1).tolist(), actions.start.tolist()
        self._is_single, self._starts_later = not actions.shape, any(self._start)
        self._decider: _Decider
        self._decider = Decider(network) if evaluator == "numba" else NumpyDecider(network)
        self._memory_size = self._decider.state_size
        self._first = np.zeros(self._memory_size, np.float32)
        self._lock = Lock()  # it has one place to work in

    def choose(
        self,
        agent: str,
        observation: np.ndarray,
        legal: np.ndarray | None,
        memory: np.ndarray | None,
        random: Random,
    ) -> Choice:
        state, noise = self._first, self._noise
        if self._memory_size:
            # Another policy may remember more, or less.
            fits = memory is not None and len(memory) == self._memory_size
            state = memory.copy() if memory is not None and fits else state.copy()
        with self._lock:
            self._decider.run(agent, observation, state)
            outputs = self._decider.value_of(self._last)
            if noise is not None:
                means = self._decider.value_of(noise.mean)
                spread = noise.log_deviation
                logs = self._decider.value_of(spread) if spread else np.array(noise.log_deviations)
        after = state if self._memory_size else None
        if self._is_choice:
            how = self._is_drawn, self._epsilon, random
            action, chance = choice_of(outputs.tolist(), self._sizes, legal, *how)
            told = list(action)  # which is the program's to change
            if self._starts_later:
                told = [index + first for index, first in zip(action, self._start, strict=True)]
            return Choice(action, told[0] if self._is_single else told, chance, outputs, after)
        if noise is None:
            numbers, chance = outputs, 0.0
        else:
            numbers, chance = numbers_of(means, logs, noise.squash, self._epsilon, random)
        told = told_numbers(self._network, numbers[None])[0].copy()
        return Choice(numbers, told, chance, outputs, after)
