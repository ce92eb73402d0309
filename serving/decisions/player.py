"""A policy file, ready to be asked about one request, and how it explores.

    player = Player(export.read("served/7"), version="7")
    values = player.values(observation)                    # R numbers
    shares, best = chances(values, allowed, epsilon=0.05)  # R chances that sum to 1

Exploration is bounded: the share of decisions that leave the best action is at most what is said.
"""

from collections.abc import Sequence
from math import exp

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba import njit

from marlserve.policies.export.layers import Layer
from marlserve.policies.export.network import ANYONE, Network, PolicyFile
from marlserve.policies.export.numba_policy import Decider
from marlserve.policies.export.resized import resized
from marlserve.policies.export.spaces import Choices

AGENT = "agent"  # who asks, in a policy file that plays for anyone
_NO_MEMORY = np.zeros(0, np.float32)


class Player:
    """One network that chooses one of R replicas.

    Attributes:
        version: as the store names it.
        published_s: when it was, in seconds since 1970.
        num_replicas: R.
        shape: of what it reads.
        features: (name, unit) of what it reads, if the file says so.
        training: where it is from, as the file says.

    Raises:
        ValueError: if the file has no policy for the agent, it does not choose one of R things, or
            it has a memory: requests of many sessions come in between.
    """

    def __init__(
        self, file: PolicyFile, version: str, published_s: float = 0.0, agent: str = AGENT
    ):
        network = file.networks[file.network_of(agent)]
        actions = network.actions
        if not isinstance(actions, Choices) or actions.shape or actions.start.any():
            raise ValueError(f"the action space is {network.action_space}; allowed is Discrete(R)")
        if any(layer.operation == "gru" for layer in network.layers):
            raise ValueError("the policy has a memory (gru); allowed is one without")
        self.version, self.published_s = version, published_s
        self.num_replicas = actions.legal.shape[1]
        self.features, self.training = network.features, file.training
        self._agent, self._network, self._decider = agent, network, Decider(network)
        self._fitting: dict[int, Player | None] = {}
        space = network.observation_space
        self.shape = space.shape
        self._low, self._high = (x.ravel().astype(np.float32) for x in (space.low, space.high))

    def fitting(self, number: int) -> "Player | None":
        """The same policy for so many replicas; None if it treats them differently, and so plays
        only as many as it has."""
        if number not in self._fitting:
            try:
                file = PolicyFile(
                    {"resized": resized(self._network, number)},
                    {ANYONE: "resized"},
                    self.training,
                )
                made = Player(file, self.version, self.published_s, self._agent)
            except ValueError:
                made = None
            self._fitting[number] = made
        return self._fitting[number]

    def in_range(self, observation: np.ndarray) -> bool:
        """Whether it is one of those that the policy knows; NaN is not."""
        if observation.shape != self.shape:
            return False
        return _is_inside(observation.astype(np.float32, copy=False).ravel(), self._low, self._high)

    def values(self, observation: np.ndarray) -> list[float]:
        """What the policy thinks of each replica, R numbers: the more, the better.

        Raises:
            ValueError: for an observation of another shape, or not finite.
        """
        self._decider.run(self._agent, observation, _NO_MEMORY)
        return self._decider.outputs[0].tolist()


def chances(
    values: Sequence[float],
    allowed: Sequence[bool],
    epsilon: float = 0.0,
    temperature: float = 0.0,
) -> tuple[list[float], int]:
    """The chance of each replica, and which one is the best.

    Args:
        values: R finite numbers.
        allowed: one at least is.
        epsilon: at most so much goes to others than the best one of the allowed ones.
        temperature: 0: to all others alike, epsilon over the number of allowed ones each; else by
            exp(value / temperature), scaled down where that would exceed epsilon.
    """
    # Of few numbers a list is faster than an array.
    legal = [i for i, may in enumerate(allowed) if may]
    best = max(legal, key=values.__getitem__)  # the first of equal ones
    shares = [0.0] * len(values)
    if temperature > 0.0:
        weights = {i: exp((values[i] - values[best]) / temperature) for i in legal if i != best}
        total = sum(weights.values())
        scale = min(total / (1.0 + total), epsilon) / total if total else 0.0
        for i, weight in weights.items():
            shares[i] = scale * weight
    else:
        for i in legal:
            shares[i] = epsilon / len(legal)
        shares[best] = 0.0
    shares[best] = 1.0 - sum(shares)
    return shares, best


@njit(cache=True)
def _is_inside(values, low, high):
    inside = True
    for i in range(len(values)):
        inside = inside and low[i] <= values[i] <= high[i]
    return inside


def warm_up() -> None:
    """Compile what decisions run, which takes some seconds once per machine."""
    weights = {"q.weight": np.zeros((2, 1), np.float32), "q.bias": np.zeros(2, np.float32)}
    layers = (Layer("q", "linear", ("observation",), (2,)),)
    network = Network(Box(0.0, 1.0, (1,)), Discrete(2), layers, weights, "action values")
    player, seen = Player(PolicyFile({"q": network}, {AGENT: "q"}), ""), np.zeros(1, np.float32)
    player.in_range(seen)
    player.values(seen)
