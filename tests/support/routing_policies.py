"""Policy files for the routing problem whose values are known."""

import numpy as np
from gymnasium.spaces import Box, Discrete

from marlserve.envs.replica_routing.observation import FEATURES
from marlserve.policies.export.layers import Layer
from marlserve.policies.export.network import Network, PolicyFile


def routing_policy(values, slope: float = 0.0) -> PolicyFile:
    """A policy that thinks so of each replica, plus `slope` if it is up."""
    number, size = len(values), len(FEATURES)
    weights = {
        "q.weight": np.zeros((number, number * size), np.float32),
        "q.bias": np.asarray(values, np.float32),
    }
    up = FEATURES.index("up") + size * np.arange(number)
    weights["q.weight"][np.arange(number), up] = slope
    layers = (
        Layer("flat", "flatten", ("observation",), (number * size,)),
        Layer("q", "linear", ("flat",), (number,)),
    )
    space, actions = Box(0.0, 1.0, (number, size)), Discrete(number)
    network = Network(space, actions, layers, weights, "action values")
    return PolicyFile({"shared": network}, {"*": "shared"})
