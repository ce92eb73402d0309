"""A network that scores each of M things, where there are more or fewer of them.

    other = resized(network, 5)       # [M, F] -> Discrete(M) becomes [5, F] -> Discrete(5)

Only what treats all things alike can be: layers that act on each of them, and what pools them. One
that has weights for the third of them has none for a fifth.
"""

from dataclasses import replace

import numpy as np
from gymnasium.spaces import Box, Discrete

from marlserve.policies.export.layers import OBSERVATION, OPERATIONS, Layer, Shape
from marlserve.policies.export.network import Network


def resized(network: Network, number: int) -> Network:
    """The same network where there are so many things to choose from.

    Raises:
        ValueError: if it does not choose one of M things that an observation [M, F] describes
            within the same bounds, or has weights for each of them.
    """
    space, actions = network.observation_space, network.action_space
    chooses = isinstance(actions, Discrete) and len(space.shape) == 2
    if not chooses or space.shape[0] != getattr(actions, "n", 0):
        raise ValueError(
            f"observations {space.shape} and {actions}; allowed is [M, F] and Discrete(M)"
        )
    low, high = space.low[:1], space.high[:1]
    if (space.low != low).any() or (space.high != high).any():
        raise ValueError("the bounds of the observation differ from one thing to the other")
    shapes: dict[str, Shape] = {OBSERVATION: (number, space.shape[1])}
    layers = []
    for layer in network.layers:
        inputs = [shapes[name] for name in layer.inputs]
        shapes[layer.name], _ = OPERATIONS[layer.operation](inputs, layer.shape)
        layers.append(Layer(layer.name, layer.operation, layer.inputs, shapes[layer.name]))
    low, high = (np.repeat(bound, number, axis=0) for bound in (low, high))
    return replace(  # which sees to the weights
        network,
        observation_space=Box(low, high, dtype=np.float32),
        action_space=Discrete(number, start=getattr(actions, "start", 0)),
        layers=tuple(layers),
    )
