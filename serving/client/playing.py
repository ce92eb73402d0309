"""A policy as a client plays it: what is drawn from its outputs, and with which chance.

Of logits, each component of an action is drawn from their softmax; of action values it is the
largest, except that a share `epsilon` is drawn from all alike.
"""

from math import exp, log
from random import Random
from threading import Lock

import numpy as np

from marlserve.policies.export.network import ANYONE
from marlserve.policies.export.numba_policy import NumbaPolicy
from marlserve.policies.export.numpy_policy import NumpyPolicy
from marlserve.policies.export.spaces import Choices
from marlserve.serving.wire.policy_parts import Published


class Playing:
    """A version, ready to be asked.

    Attributes:
        run, version: as published.
        has_components: whether an action is of several choices.

    Raises:
        ValueError: if the file is broken, has a memory, or plays numbers.
    """

    def __init__(self, published: Published, evaluator: str):
        file = published.policy_file()
        network = file.networks[file.network_of(ANYONE)]
        actions = network.actions
        if any(layer.operation == "gru" for layer in network.layers):
            raise ValueError("the policy has a memory (gru); allowed is one without")
        if not isinstance(actions, Choices):
            raise ValueError(f"the action space is {network.action_space}; allowed are choices")
        self.run, self.version = published.run, published.version
        self.epsilon = published.epsilon
        self.is_drawn = network.outputs == "logits"
        self.has_components = bool(actions.shape)
        self._sizes = actions.legal.sum(-1).tolist()
        self._policy: NumbaPolicy | NumpyPolicy
        self._policy = NumbaPolicy(file) if evaluator == "numba" else NumpyPolicy(file)
        self._lock = Lock()  # an evaluator has one place to work in

    def outputs(self, observation: np.ndarray) -> np.ndarray:
        """What the network puts out, [H, A].

        Raises:
            ValueError: for an observation of another shape, or not finite.
        """
        with self._lock:
            if isinstance(self._policy, NumbaPolicy):
                return self._policy.outputs(ANYONE, observation)
            self._policy.reset()
            return self._policy.outputs({ANYONE: np.asarray(observation)[None]})[ANYONE][0]

    def choose(self, outputs: np.ndarray, random: Random) -> tuple[list[int], float]:
        """The components of an action, and the logarithm of their chance."""
        action, chance = [], 0.0
        for values, size in zip(outputs.tolist(), self._sizes, strict=True):
            draw = _drawn if self.is_drawn else _greedy
            index, own = draw(values[:size], self.epsilon, random)
            action.append(index)
            chance += own
        return action, chance


def _drawn(values: list[float], epsilon: float, random: Random) -> tuple[int, float]:
    most = max(values)
    weights = [exp(value - most) for value in values]
    total = sum(weights)
    if epsilon:
        share = epsilon * total / len(values)
        weights = [(1.0 - epsilon) * weight + share for weight in weights]
    left, index = random.random() * total, 0
    while left >= weights[index] and index < len(weights) - 1:
        left -= weights[index]
        index += 1
    if epsilon:
        return index, log(weights[index] / total)
    return index, values[index] - most - log(total)


def _greedy(values: list[float], epsilon: float, random: Random) -> tuple[int, float]:
    best = values.index(max(values))
    index = random.randrange(len(values)) if random.random() < epsilon else best
    chance = epsilon / len(values) + (1.0 - epsilon if index == best else 0.0)
    return index, log(chance)
